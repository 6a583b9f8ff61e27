"""Metrics of the basis that a denoiser learned, on every registered architecture at toy size."""

import math

import pytest
import torch
from small_plugins import marked, small

import gahbench
from gahbench.evaluation.evaluation import Evaluation
from gahbench.networks.trained import Trained
from gahbench.registry.registry import Registry

#: Those that have values on any family with 8 images or more, whatever the network.
METRICS = (
    "alignment[haar]", "truth-alignment", "adaptation", "spectrum", "self-consistency",
    "capture", "contour-anisotropy", "sparsity[haar]",
)  # fmt: skip
IMAGES, SIGMA = 8, 0.1
#: All but the one that takes minutes: it works on images of at least 64x64.
NAMES = [name for name in Registry().names("architecture") if name != "scunet"]


@pytest.mark.parametrize("name", marked(NAMES))
def test_metrics_of_the_basis_have_values_on_every_architecture(tmp_path, name):
    dataset = gahbench.create("dataset", "c-alpha", alpha=2.0, size=16)
    configured = Registry().configure("architecture", name, **small(name, tmp_path))
    network = configured.build(dataset.shape)
    evaluation = Evaluation(Trained(network), dataset.images("test", IMAGES), [SIGMA], dataset=dataset)
    found = {}
    for metric in METRICS:
        scores = gahbench.create("metric", metric).score(evaluation)
        assert all(map(math.isfinite, scores.value)), metric
        assert scores.value, metric
        found[metric] = scores
    parts = zip(found["spectrum"].part, found["spectrum"].value, strict=True)
    traces = [value for part, value in parts if part == "trace"]
    assert traces == pytest.approx([trace(network, noisy) for noisy in evaluation.noisy(SIGMA)], rel=1e-3, abs=1e-3)
    # A filter on a graph keeps at least the mean, and less than all: an untrained network may be beyond either end.
    if 2 < sum(traces) / IMAGES < 250:
        assert gahbench.create("metric", "alignment[graph-laplacian]").score(evaluation).value


def trace(network, noisy):
    """Return the trace of the network's Jacobian at an image (C, H, W), from the derivative of each value by itself."""
    size = noisy.numel()
    copies = noisy.expand(size, *noisy.shape).clone().requires_grad_()
    denoised = network(copies, torch.full((size,), SIGMA))
    # The k-th value of the k-th copy, whose only dependence is on that copy.
    (gradient,) = torch.autograd.grad(denoised.flatten(1).diagonal().sum(), copies)
    return float(gradient.flatten(1).diagonal().sum())
