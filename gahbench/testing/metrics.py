"""Contract checks of metrics."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gahbench._util.shapes import Shape
from gahbench.contracts.bases import Basis
from gahbench.contracts.captured import Captured
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
from gahbench.testing.findings import CheckFailed, Finding, attempt, expect
from gahbench.testing.samples import sample_images, sample_noise

Result = TypeVar("Result")
SIGMAS = (0.1, 0.6, 0.7, 0.8)
COUNT = 5
#: Shares of the noise that remain after a good and a bad denoiser.
SHARES = (0.1, 0.9)
#: Image sides to try in order, until the metric accepts a side; small, for metrics that compute whole Jacobians.
SIZES = (16, 64)
#: Families for metrics that have no value on images without a dataset.
FAMILIES = ("c-alpha[size=16]", "discs[size=16]")
#: Families for checks with a network: the optimum of the second is exact and takes little time at every noise level.
NETWORK_FAMILIES = ("c-alpha[size=16]", "gaussian-field[size=16]")
NETWORK_SIGMAS = (0.1, 0.5)
NETWORK_IMAGES = 6
#: Without added noise (beta = 1), sampling with a smoothing network converges in a few steps.
NETWORK_SAMPLING = Sampling(count=5, step=0.5, beta=1.0)


class _PartialDenoiser(Reference):
    """A denoiser that keeps a share of the noise."""

    kind: DenoiserKind = "oracle"

    def __init__(self, share: float, registry: Registry) -> None:
        self.share = share
        # Some metrics measure the basis in which a denoiser shrinks.
        self.basis: Basis = registry.create("basis", "dct")

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        return truth.clean + self.share * (noisy - truth.clean)


@dataclass
class _PermutedEvaluation(Evaluation):
    """An evaluation that permutes images together with their noise."""

    order: Sequence[int] = ()

    def is_unchanged(self) -> bool:
        """Return whether the clean and denoised images are unchanged."""
        fresh = _PermutedEvaluation(self.denoiser, self._original, self.sigmas, order=self.order)
        return self.clean.equal(fresh.clean) and all(
            fresh.denoised(sigma).equal(denoised) for sigma, denoised in self._denoised.items()
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._original = self.clean
        self._noises: dict[tuple[float, int], Tensor] = {}
        self.clean = self.clean[list(self.order)]

    def noisy(self, sigma: float, draw: int = 0) -> Tensor:
        if (sigma, draw) not in self._noises:
            fresh = Evaluation(self.denoiser, self._original, self.sigmas)
            self._noises[sigma, draw] = fresh.noisy(sigma, draw) - self._original
        return self.clean + self._noises[sigma, draw][list(self.order)]


def check_metric(configured: Configured) -> Iterator[Finding]:
    """Check that a metric's scores are valid, deterministic, and not worse for a better denoiser."""
    metric: Metric = configured.build()
    registry = configured.registry
    if metric.needs - {"test", "jacobian"}:
        yield from check_on_network(metric, registry)
        return
    count = max(COUNT, metric.min_images)
    clean, changes = sample_images(count, _accepted_shape(metric)), list[bool]()

    def score(share: float, order: Sequence[int] = range(count)) -> Scores:
        evaluation = _PermutedEvaluation(_PartialDenoiser(share, registry), clean, SIGMAS, order=order)
        scores = validate_scores(metric.score(evaluation), SIGMAS, count)
        changes.append(not evaluation.is_unchanged())
        return scores

    def score_family(dataset: Dataset) -> Scores:
        denoiser = _PartialDenoiser(0.5, registry)
        evaluation = Evaluation(denoiser, dataset.images("test", count), SIGMAS[:1], dataset=dataset)
        return validate_scores(metric.score(evaluation), SIGMAS, count)

    bad = _valid(lambda: score(SHARES[1]))
    yield Finding("returns valid scores", True, f"{len(bad.value)} values")
    if not bad.value:
        yield Finding("has no value without a dataset", None)
        values, repeats = _first_values(score_family, FAMILIES, registry)
        yield Finding(
            "is deterministic on a family" if values else "has no value on families", repeats if values else None
        )
        return
    yield Finding("is deterministic", list(bad.value) == list(score(SHARES[1]).value))
    yield _check_direction(metric, _headline(score(SHARES[0])), _headline(bad))
    fault = "it writes into them, which affects other metrics; work on a copy"
    yield expect("does not change the images", not any(changes), fault)
    yield attempt("does not depend on the order of images", lambda: _order_fault(score, count))


def _check_direction(metric: Metric, good: float | None, bad: float | None) -> Finding:
    """Compare the headlines of a good and a bad denoiser."""
    if good is None or bad is None:
        return Finding("has no headline", None, "it has only parts, which are not ranked")
    if metric.higher_is_better is None:
        return Finding("has no direction", None, "neither higher nor lower values are better")
    check, shares = "is not worse for a better denoiser", " and ".join(f"{share:.0%}" for share in SHARES)
    if abs(good - bad) <= 1e-6:
        detail = f"undecided: {good:.4g} for both denoisers, which keep {shares} of the noise in every pixel"
        return Finding(check, None, detail)
    is_better = good > bad if metric.higher_is_better else good < bad
    return Finding(check, is_better, f"{good:.4g} and {bad:.4g} for denoisers that keep {shares} of the noise")


def _valid(compute: Callable[[], Result]) -> Result:
    """Compute scores; end the checks if they are not valid."""
    try:
        return compute()
    except (TypeError, ValueError) as error:
        raise CheckFailed(Finding("returns valid scores", False, str(error))) from error


def _first_values(
    score: Callable[[Dataset], Scores], families: Sequence[str], registry: Registry
) -> tuple[list[float], bool]:
    """Return the values on the first family that has values, and whether they repeat on a dataset without a cache."""
    for family in families:
        if values := list(score(registry.create("dataset", family)).value):
            return values, values == list(score(registry.create("dataset", family)).value)
    return [], True


def _accepted_shape(metric: Metric) -> Shape:
    """Return the smallest shape in ``SIZES`` that a metric accepts; the largest if it accepts none."""
    for size in SIZES:
        with contextlib.suppress(ValueError):
            metric.check((1, size, size), SIGMAS)
            break
    return (1, size, size)


def _headline(scores: Scores) -> float | None:
    """Return the mean of the values of the headline; ``None`` without such values."""
    parts = scores.part or [""] * len(scores.value)
    values = [value for value, part in zip(scores.value, parts, strict=True) if part == ""]
    return sum(values) / len(values) if values else None


def _order_fault(score: Callable[[float, Sequence[int]], Scores], count: int) -> str | None:
    """Return how values change if images are permuted together with their noise; ``None`` if they do not change."""
    order = [2, 0, 4, 1, 3, *range(count - 1, 4, -1)]
    before, after = _by_key(score(0.5, range(count))), _by_key(score(0.5, order))
    if before.keys() != after.keys():
        return "permuted images have values at other noise levels, images or parts"
    for (sigma, image, part), value in after.items():
        expected = before[sigma, None if image is None else order[image], part]
        if not math.isclose(value, expected, rel_tol=1e-3, abs_tol=1e-4):
            return f"permuted images have different values: {value:.6g} instead of {expected:.6g}"
    return None


def _by_key(scores: Scores) -> dict[tuple[float | None, int | None, str | None], float]:
    missing: list[None] = [None] * len(scores.value)
    keys = zip(scores.sigma or missing, scores.image or missing, scores.part or missing, strict=True)
    return dict(zip(keys, scores.value, strict=True))


class _SmoothingNetwork(nn.Module):
    """A network that keeps a share of the difference from the mean of a neighbourhood."""

    def __init__(self, share: float) -> None:
        super().__init__()
        # Metrics of features need channels that differ.
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
    """Check that a metric has deterministic scores on a network that meets all needs."""
    count = NETWORK_SAMPLING.count if "samples" in metric.needs else max(NETWORK_IMAGES, metric.min_images)

    def score(dataset: Dataset) -> Scores:
        return validate_scores(metric.score(_evaluation(metric, dataset)), NETWORK_SIGMAS, count)

    values, repeats = _valid(lambda: _first_values(score, NETWORK_FAMILIES, registry))
    yield Finding("returns valid scores", True, f"{len(values)} values")
    yield Finding("has a value for a network and its partner", bool(values))
    yield Finding("is deterministic", repeats)


def _evaluation(metric: Metric, dataset: Dataset) -> Evaluation:
    clean = dataset.images("test", max(NETWORK_IMAGES, metric.min_images))
    sigmas: tuple[float, ...] = NETWORK_SIGMAS
    captured = None
    if "captured" in metric.needs:
        sigmas = NETWORK_SIGMAS[:1]
        levels = torch.full((len(clean),), sigmas[0], dtype=torch.float64)
        captured = Captured(clean + sample_noise(clean, sigmas[0]), levels, torch.zeros_like(levels))

    def evaluate_half(share: float, half: TrainingSplit, **options: Any) -> Evaluation:
        networks = {step: _SmoothingNetwork(kept) for step, kept in ((1, 0.9), (10, share))}
        return Evaluation(
            Trained(networks[10]),
            clean,
            sigmas,
            dataset=dataset,
            sampling=NETWORK_SAMPLING,
            captured=captured,
            learned_from=TrainingData(dataset, half, 8),
            snapshots=[(step, functools.partial(Trained, network)) for step, network in networks.items()],
            **options,
        )

    return evaluate_half(0.2, "A", partner=evaluate_half(0.4, "B"))
