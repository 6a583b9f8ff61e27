"""Contract checks of metrics."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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
    """An evaluation whose noise is permuted like its images."""

    order: Sequence[int] = ()

    def noisy(self, sigma: float, draw: int = 0) -> Tensor:
        return self.clean + (super().noisy(sigma, draw) - self.clean)[list(self.order)]


def check_metric(configured: Configured) -> Iterator[Finding]:
    """Check that a metric's scores are valid, deterministic, and not worse for a better denoiser."""
    metric: Metric = configured.build()
    registry = configured.registry
    if metric.needs - {"test", "jacobian"}:
        yield from _check_on_families(
            metric, registry, NETWORK_FAMILIES, functools.partial(_network_evaluation, metric)
        )
        return
    count = max(COUNT, metric.min_images)
    clean, changes = sample_images(count, _accepted_shape(metric)), list[bool]()

    def score(share: float, order: Sequence[int] = range(count)) -> Scores:
        denoiser = _PartialDenoiser(share, registry)
        evaluation, fresh = (_PermutedEvaluation(denoiser, clean[list(order)], SIGMAS, order=order) for _ in range(2))
        scores = validate_scores(metric.score(evaluation), SIGMAS, count)
        denoised_equal = (evaluation.denoised(sigma).equal(fresh.denoised(sigma)) for sigma in SIGMAS)
        changes.append(not (evaluation.clean.equal(fresh.clean) and all(denoised_equal)))
        return scores

    def evaluate_family(dataset: Dataset) -> Evaluation:
        denoiser = _PartialDenoiser(0.5, registry)
        return Evaluation(denoiser, dataset.images("test", count), SIGMAS[:1], dataset=dataset)

    bad = _valid(lambda: score(SHARES[1]))
    if not bad.value:
        yield Finding("has no value without a dataset", None)
        yield from _check_on_families(metric, registry, FAMILIES, evaluate_family)
        return
    yield Finding("returns valid scores", True, f"{len(bad.value)} values")
    yield Finding("is deterministic", list(bad.value) == list(score(SHARES[1]).value))
    yield _check_direction(metric, _headline(score(SHARES[0])), _headline(bad))
    fault = "it writes into them, which affects other metrics; work on a copy"
    yield expect("does not change the images", not any(changes), fault)
    yield attempt("does not depend on the order of images", lambda: _order_fault(score, count))


def _valid(compute: Callable[[], Scores]) -> Scores:
    """Compute scores; end the checks if they are not valid."""
    try:
        return compute()
    except (TypeError, ValueError) as error:
        raise CheckFailed(Finding("returns valid scores", False, str(error))) from error


def _accepted_shape(metric: Metric) -> Shape:
    """Return the smallest shape in ``SIZES`` that a metric accepts; the largest if it accepts none."""
    for size in SIZES:
        with contextlib.suppress(ValueError):
            metric.check((1, size, size), SIGMAS)
            break
    return (1, size, size)


def _check_direction(metric: Metric, good: float | None, bad: float | None) -> Finding:
    """Compare the headlines of a good and a bad denoiser."""
    check = "is not worse for a better denoiser"
    if good is None or bad is None or metric.higher_is_better is None:
        return Finding(check, None, "there is no headline, or neither higher nor lower values of it are better")
    detail = f"{good:.4g} and {bad:.4g} for denoisers that keep {SHARES[0]:.0%} and {SHARES[1]:.0%} of the noise"
    if abs(good - bad) <= 1e-6:
        return Finding(check, None, f"undecided: {detail}")
    return Finding(check, (good > bad) == metric.higher_is_better, detail)


def _headline(scores: Scores) -> float | None:
    """Return the mean of the values of the headline; ``None`` without such values."""
    parts = scores.part or [""] * len(scores.value)
    values = [value for value, part in zip(scores.value, parts, strict=True) if part == ""]
    return sum(values) / len(values) if values else None


def _order_fault(score: Callable[[float, Sequence[int]], Scores], count: int) -> str | None:
    """Return how values change if images are permuted together with their noise; ``None`` if they do not change."""
    order = [2, 0, 4, 1, 3, *range(count - 1, 4, -1)]
    before, after = _by_key(score(0.5, range(count))), _by_key(score(0.5, order))
    for (sigma, image, part), value in after.items():
        expected = before.get((sigma, None if image is None else order[image], part), math.nan)
        if not math.isclose(value, expected, rel_tol=1e-3, abs_tol=1e-4):
            return f"permuted images have different values: {value:.6g} instead of {expected:.6g}"
    return None if len(before) == len(after) else "permuted images have fewer values"


def _by_key(scores: Scores) -> dict[tuple[float | None, int | None, str | None], float]:
    missing: list[None] = [None] * len(scores.value)
    keys = zip(scores.sigma or missing, scores.image or missing, scores.part or missing, strict=True)
    return dict(zip(keys, scores.value, strict=True))


def _check_on_families(
    metric: Metric, registry: Registry, families: Sequence[str], evaluate: Callable[[Dataset], Evaluation]
) -> Iterator[Finding]:
    """Check that a metric has deterministic scores on the first family that has values."""

    def score(family: str) -> Scores:
        evaluation = evaluate(registry.create("dataset", family))
        count = NETWORK_SAMPLING.count if "samples" in metric.needs else len(evaluation.clean)
        return validate_scores(metric.score(evaluation), evaluation.sigmas, count)

    for family in families:
        if values := list(_valid(functools.partial(score, family)).value):
            yield Finding("returns valid scores", True, f"{len(values)} values")
            yield Finding("is deterministic on a family", values == list(score(family).value))
            return
    # A metric of a network and its partner has a value on these families.
    yield Finding("has a value on families", False if metric.needs - {"test", "jacobian"} else None)


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


def _network_evaluation(metric: Metric, dataset: Dataset) -> Evaluation:
    """Return the evaluation of a network that meets all needs."""
    clean = dataset.images("test", max(NETWORK_IMAGES, metric.min_images))
    sigmas = NETWORK_SIGMAS[: 1 if "captured" in metric.needs else None]
    captured: Captured | None = None
    if "captured" in metric.needs:
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
