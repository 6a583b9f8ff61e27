"""Contract checks of metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gahbench._util.shapes import Shape
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.denoisers import DenoiserKind
from gahbench.contracts.metrics import Metric, Scores, validate_scores
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import TrainingData, TrainingSplit, Truth
from gahbench.evaluation.evaluation import Evaluation
from gahbench.networks.trained import Trained
from gahbench.registry.configured import Configured
from gahbench.registry.registry import Registry
from gahbench.sampling.settings import Sampling
from gahbench.testing.findings import Finding, attempt
from gahbench.testing.samples import sample_images

SIGMAS = (0.1, 0.6, 0.7, 0.8)
COUNT = 5
#: Shares of the noise that a good and a bad denoiser leave.
SHARES = (0.1, 0.9)
#: Sides of images that are tried until one is accepted: small ones, for metrics that need all of a Jacobian.
SIZES = (16, 64)
#: Families for metrics that have no value on images of no dataset.
FAMILIES = ("c-alpha[size=16]", "discs[size=16]")
_FAMILY = "c-alpha[size=16]"
_SIGMAS = (0.1, 0.5)
_IMAGES = 6
#: Without noise on the way, smoothing converges in a few steps.
_SAMPLING = Sampling(count=5, step=0.5, beta=1.0)


class _Shrinks(Reference):
    """A denoiser that leaves a share of the noise."""

    kind: DenoiserKind = "oracle"

    def __init__(self, share: float, registry: Registry) -> None:
        self.share = share
        # For metrics of the basis that a denoiser shrinks in.
        self.basis: Basis = registry.create("basis", "dct")

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        return truth.clean + self.share * (noisy - truth.clean)


@dataclass
class _Ordered(Evaluation):
    """An evaluation whose images, each with its noise, are permuted."""

    order: Sequence[int] = ()

    def is_whole(self) -> bool:
        """Return whether its images, clean and denoised, are unchanged."""
        again = _Ordered(self.denoiser, self._given, self.sigmas, order=self.order)
        return self.clean.equal(again.clean) and all(
            again.denoised(sigma).equal(denoised) for sigma, denoised in self._denoised.items()
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._given = self.clean
        self._noises: dict[tuple[float, int], Tensor] = {}
        self.clean = self.clean[list(self.order)]

    def noisy(self, sigma: float, draw: int = 0) -> Tensor:
        if (sigma, draw) not in self._noises:
            fresh = Evaluation(self.denoiser, self._given, self.sigmas)
            self._noises[sigma, draw] = fresh.noisy(sigma, draw) - self._given
        return self.clean + self._noises[sigma, draw][list(self.order)]


def check_metric(configured: Configured) -> Iterator[Finding]:
    """Check the layout of a metric's scores, that they repeat, and that a good denoiser is not worse than a bad one."""
    metric = configured.build()
    if not isinstance(metric, Metric):
        yield Finding("is a gahbench.Metric", False, f"it is a {type(metric).__name__}")
        return
    if metric.needs - {"test", "jacobian"}:
        yield from check_on_network(metric, configured.registry)
        return

    count = max(COUNT, metric.min_images)
    clean, spoilt = sample_images(count, _accepted(metric)), list[bool]()

    def score(share: float, order: Sequence[int] = range(count)) -> Scores:
        evaluation = _Ordered(_Shrinks(share, configured.registry), clean, SIGMAS, order=order)
        scores = validate_scores(metric.score(evaluation), SIGMAS, count)
        spoilt.append(not evaluation.is_whole())
        return scores

    try:
        values = list(score(SHARES[1]).value)
    except (TypeError, ValueError) as error:
        yield Finding("returns scores that can be kept", False, str(error))
        return
    yield Finding("returns scores that can be kept", True, f"{len(values)} values")
    if not values:
        yield Finding("has a value for every denoiser", None, "none for images of no dataset")
        yield _on_families(metric, configured.registry)
        return
    yield Finding("is deterministic", values == list(score(SHARES[1]).value))
    yield _direction(metric, _headline(score(SHARES[0])), _headline(score(SHARES[1])))
    detail = "it writes into them, and other metrics would measure that; work on a copy" if any(spoilt) else ""
    yield Finding("leaves the images as they are", not any(spoilt), detail)
    yield attempt("measures each image alike at any place", lambda: _depends_on_place(score, count))


def _direction(metric: Metric, good: float | None, bad: float | None) -> Finding:
    """Compare the headlines of a good and a bad denoiser."""
    if good is None or bad is None:
        return Finding("has no headline", None, "its parts are facts, not ranks")
    if metric.higher_is_better is None:
        return Finding("has no direction", None, "it says that neither higher nor lower is better")
    name = "is not worse for a better denoiser"
    left = " and ".join(f"{share:.0%}" for share in SHARES)
    if abs(good - bad) <= 1e-6:
        detail = f"undecided: {good:.4g} for both denoisers, which leave {left} of the noise in every pixel"
        return Finding(name, None, detail)
    better = good > bad if metric.higher_is_better else good < bad
    return Finding(name, better, f"{good:.4g} against {bad:.4g}, where {left} of the noise are left")


def _on_families(metric: Metric, registry: Registry) -> Finding:
    """Try a metric that uses the dataset on families whose best denoiser is known, twice."""
    count = max(COUNT, metric.min_images)

    def values(dataset: Dataset) -> list[float]:
        evaluation = Evaluation(_Shrinks(0.5, registry), dataset.images("test", count), SIGMAS[:1], dataset=dataset)
        return list(validate_scores(metric.score(evaluation), SIGMAS, count).value)

    for family in FAMILIES:
        if found := values(registry.create("dataset", family)):
            # A new dataset has no cache.
            repeats = found == values(registry.create("dataset", family))
            return Finding("is deterministic where it has a value", repeats, f"{len(found)} values on {family}")
    return Finding("has a value on a family whose optimum is known", None, f"none on {', '.join(FAMILIES)}")


def _accepted(metric: Metric) -> Shape:
    """Return the shape of the smallest images that a metric accepts, or of the largest tried."""
    for size in SIZES:
        try:
            metric.check((1, size, size), SIGMAS)
        except ValueError:
            continue
        return (1, size, size)
    return (1, SIZES[-1], SIZES[-1])


def _headline(scores: Scores) -> float | None:
    """Return the mean of the values that rank, if there are any."""
    parts = scores.part or [""] * len(scores.value)
    values = [value for value, part in zip(scores.value, parts, strict=True) if part == ""]
    return sum(values) / len(values) if values else None


def _depends_on_place(score: Callable[[float, Sequence[int]], Scores], count: int) -> str | None:
    """Return in words how values change when the images come in another order, each with its noise."""
    # 2, 0, 4, 1, 3 for five images.
    order = [2, 0, 4, 1, 3, *range(count - 1, 4, -1)]
    before, after = _by_place(score(0.5, range(count))), _by_place(score(0.5, order))
    if before.keys() != after.keys():
        return "images in another order have values at other places"
    for (sigma, image, part), value in after.items():
        expected = before[sigma, None if image is None else order[image], part]
        if not math.isclose(value, expected, rel_tol=1e-3, abs_tol=1e-4):
            return f"images in another order have other values: {value:.6g} rather than {expected:.6g}"
    return None


def _by_place(scores: Scores) -> dict[tuple[float | None, int | None, str | None], float]:
    nowhere: list[None] = [None] * len(scores.value)
    places = zip(scores.sigma or nowhere, scores.image or nowhere, scores.part or nowhere, strict=True)
    return dict(zip(places, scores.value, strict=True))


class _Smooth(nn.Module):
    """Keeps a share of the difference from the mean of a neighbourhood."""

    def __init__(self, share: float) -> None:
        super().__init__()
        # Features of several channels, which differ.
        self.features = nn.Conv2d(1, 3, 3, padding=1, padding_mode="replicate", bias=False)
        self.mean = nn.Conv2d(3, 1, 1, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1, 1).expand(3, 1, 3, 3) / 9)
            self.mean.weight.copy_(torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1) / 3)
        self.share = share

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        smooth: Tensor = self.mean(self.features(noisy))
        return self.share * noisy + (1 - self.share) * smooth


def check_on_network(metric: Metric, registry: Registry) -> Iterator[Finding]:
    """Check that a metric has scores, and repeats them, on a network with everything that a metric may need."""
    count = _SAMPLING.count if "samples" in metric.needs else max(_IMAGES, metric.min_images)

    def score() -> Scores:
        return validate_scores(metric.score(_evaluation(metric, registry)), _SIGMAS, count)

    try:
        scores = score()
    except (TypeError, ValueError) as error:
        yield Finding("returns scores that can be kept", False, str(error))
        return
    values = list(scores.value)
    yield Finding("returns scores that can be kept", True, f"{len(values)} values")
    yield Finding("has a value for a network and its partner", bool(values))
    yield Finding("is deterministic", values == list(score().value))


def _evaluation(metric: Metric, registry: Registry) -> Evaluation:
    dataset: Dataset = registry.create("dataset", _FAMILY)
    clean = dataset.images("test", max(_IMAGES, metric.min_images))

    def on_half(share: float, half: TrainingSplit) -> Evaluation:
        evaluation = Evaluation(Trained(_Smooth(share)), clean, _SIGMAS, dataset=dataset, sampling=_SAMPLING)
        evaluation.learned_from = TrainingData(dataset, half, 8)
        evaluation.snapshots = [(1, lambda: Trained(_Smooth(0.9))), (10, lambda: Trained(_Smooth(share)))]
        return evaluation

    evaluation = on_half(0.2, "A")
    evaluation.partner = on_half(0.4, "B")
    return evaluation
