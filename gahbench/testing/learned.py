"""Contract checks of metrics that need training images, a partner, samples or snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from gahbench.contracts.datasets import Dataset
from gahbench.contracts.metrics import Metric
from gahbench.contracts.scoring import Scores, checked
from gahbench.contracts.training_data import TrainingData, TrainingSplit
from gahbench.evaluation.evaluation import Evaluation
from gahbench.networks.trained import Trained
from gahbench.registry.registry import Registry
from gahbench.sampling.settings import Sampling
from gahbench.testing.findings import Finding

_FAMILY = "c-alpha[size=16]"
_SIGMAS = (0.1, 0.5)
_IMAGES = 6
#: Without noise on the way, smoothing converges in a few steps.
_SAMPLING = Sampling(count=5, step=0.5, beta=1.0)


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


def _smoothing(share: float) -> Trained:
    return Trained(_Smooth(share))


def needs_learning(metric: Metric) -> bool:
    """Return whether a metric asks for more than a denoiser and images."""
    return bool(metric.needs - {"test", "jacobian"})


def check_on_network(metric: Metric, registry: Registry) -> Iterator[Finding]:
    """Check that a metric has scores, and the same again, on a network with all that it may ask for."""
    count = _SAMPLING.count if "samples" in metric.needs else max(_IMAGES, metric.min_images)

    def score() -> Scores:
        return checked(metric.score(_evaluation(metric, registry)), _SIGMAS, count)

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
    found = []
    halves: tuple[tuple[float, TrainingSplit], ...] = ((0.2, "A"), (0.4, "B"))
    for share, half in halves:
        one = Evaluation(_smoothing(share), clean, _SIGMAS, dataset=dataset, sampling=_SAMPLING)
        one.learned_from = TrainingData(dataset, half, 8)
        one.snapshots = [(step, partial(_smoothing, left)) for step, left in ((1, 0.9), (10, share))]
        found.append(one)
    found[0].partner = found[1]
    return found[0]
