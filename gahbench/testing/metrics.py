"""Contract checks of metrics."""

from __future__ import annotations

import contextlib
import functools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Captured, Dataset
from gahbench.contracts.metrics import Metric, Scores, validate_scores
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import DenoiserKind, TrainingData, TrainingSplit, Truth
from gahbench.evaluation.evaluation import Evaluation
from gahbench.networks.trained import Trained
from gahbench.registry.configured import Configured
from gahbench.registry.registry import Registry
from gahbench.sampling.settings import Sampling
from gahbench.testing.findings import CheckFailed, Finding, expect
from gahbench.testing.samples import sample_images, sample_noise

SIGMAS = (0.1, 0.6, 0.7, 0.8)
COUNT = 5
#: Shares of the noise that remain after a good and a bad denoiser.
SHARES = (0.1, 0.9)
#: Image sides to try in order, until the metric accepts a side; small, for metrics that compute whole Jacobians.
SIZES = (16, 64)
WITHOUT_DATASET = "images without a dataset"
#: Families for checks with a network, the last of which has the slowest optimum.
FAMILIES = ("c-alpha[size=16]", "gaussian-field[size=16]", "discs[size=16]")
NETWORK_SIGMAS = (0.1, 0.5)
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
    registry, count, shape = configured.registry, max(COUNT, metric.min_images), (1, SIZES[0], SIZES[0])
    for size in reversed(SIZES):
        with contextlib.suppress(ValueError):
            metric.check((1, size, size), SIGMAS)
            shape = (1, size, size)
    samples = sample_images(count, shape)

    def evaluate(share: float, order: Sequence[int] = range(count)) -> Evaluation:
        return _PermutedEvaluation(_PartialDenoiser(share, registry), samples[list(order)], SIGMAS, order=order)

    def evaluate_on(images: str) -> Evaluation:
        if images == WITHOUT_DATASET:
            return evaluate(SHARES[1])
        return _network_evaluation(metric, registry.create("dataset", images))

    needs_network = bool(metric.needs - {"test", "jacobian"})
    for images in FAMILIES if needs_network else (WITHOUT_DATASET, *FAMILIES):
        evaluation = evaluate_on(images)
        if (bad := _score(metric, evaluation)).value:
            break
    else:
        # A metric of a network and its partner has a value on these families.
        yield Finding("has a value", False if needs_network else None)
        return
    yield Finding("returns valid scores", True, f"{len(bad.value)} values on {images}")
    unused = evaluate_on(images)
    is_unchanged = evaluation.clean.equal(unused.clean)
    is_unchanged &= all(evaluation.denoised(sigma).equal(unused.denoised(sigma)) for sigma in evaluation.sigmas)
    yield expect("does not change the images", is_unchanged, "it writes into them; work on a copy")
    yield Finding("is deterministic", list(bad.value) == list(_score(metric, unused).value))
    if isinstance(evaluation, _PermutedEvaluation):
        yield _check_direction(metric, _score(metric, evaluate(SHARES[0])), bad)
        yield _check_order(metric, evaluate, count)


def _score(metric: Metric, evaluation: Evaluation) -> Scores:
    """Return the scores of a metric; end the checks if they are not valid."""
    count = NETWORK_SAMPLING.count if "samples" in metric.needs else len(evaluation.clean)
    try:
        return validate_scores(metric.score(evaluation), evaluation.sigmas, count)
    except (TypeError, ValueError) as error:
        raise CheckFailed(Finding("returns valid scores", False, str(error))) from error


def _check_direction(metric: Metric, *results: Scores) -> Finding:
    """Compare the means of the headline for a good and a bad denoiser."""
    means = []
    for scores in results:
        parts = scores.part or [""] * len(scores.value)
        headline = [value for value, part in zip(scores.value, parts, strict=True) if not part]
        means.append(statistics.fmean(headline or [math.nan]))
    good, bad = means
    is_decided = metric.higher_is_better is not None and abs(good - bad) > 1e-6
    passed = (good > bad) == metric.higher_is_better if is_decided else None
    detail = f"{good:.4g} and {bad:.4g} for denoisers that keep {SHARES[0]:.0%} and {SHARES[1]:.0%} of the noise"
    return Finding("is not worse for a better denoiser", passed, detail)


def _check_order(metric: Metric, evaluate: Callable[[float, Sequence[int]], Evaluation], count: int) -> Finding:
    """Check that values do not change if images are permuted together with their noise."""
    values = []
    for order in (range(count), range(count - 1, -1, -1)):
        scores = _score(metric, evaluate(0.5, order))
        missing = [None] * len(scores.value)
        images = [order[image] for image in scores.image] if scores.image else missing
        keys = zip(scores.sigma or missing, images, scores.part or missing, strict=True)
        values.append(dict(zip(keys, scores.value, strict=True)))
    pairs = [(value, values[1].get(key, math.nan)) for key, value in values[0].items()]
    differing = [pair for pair in pairs if not math.isclose(*pair, rel_tol=1e-3, abs_tol=1e-4)]
    fault = f"values of permuted images differ, such as {differing[:1]}"
    return expect("does not depend on the order of images", not differing, fault)


class _SmoothingNetwork(nn.Module):
    """A network that keeps a share of the difference from the mean of a neighbourhood."""

    def __init__(self, share: float) -> None:
        super().__init__()
        # Metrics of features need channels that differ; the first is the mean.
        self.features = nn.Conv2d(1, 3, 3, padding=1, padding_mode="replicate", bias=False)
        self.features.weight.data = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1, 1).expand(3, 1, 3, 3) / 9
        self.share = share

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        smooth: Tensor = self.features(noisy)[:, :1]
        return self.share * noisy + (1 - self.share) * smooth


def _network_evaluation(metric: Metric, dataset: Dataset) -> Evaluation:
    """Return the evaluation of a network that meets all needs."""
    clean = dataset.images("test", max(COUNT, metric.min_images))
    needs_captured, level = "captured" in metric.needs, NETWORK_SIGMAS[0]
    levels = torch.full((len(clean),), level, dtype=torch.float64)
    captured = Captured(clean + sample_noise(clean, level), levels, torch.zeros_like(levels))

    def evaluate_half(share: float, half: TrainingSplit, **options: Any) -> Evaluation:
        networks = {step: _SmoothingNetwork(kept) for step, kept in ((1, 0.9), (10, share))}
        return Evaluation(
            Trained(networks[10]),
            clean,
            NETWORK_SIGMAS[: 1 if needs_captured else None],
            dataset=dataset,
            sampling=NETWORK_SAMPLING,
            captured=captured if needs_captured else None,
            learned_from=TrainingData(dataset, half, 8),
            snapshots=[(step, functools.partial(Trained, network)) for step, network in networks.items()],
            **options,
        )

    return evaluate_half(0.2, "A", partner=evaluate_half(0.4, "B"))
