"""Metrics of the basis that a denoiser learned, on every registered architecture at toy size."""

import math

import pytest
import torch
from small_plugins import marked, small

import gahbench
from gahbench.evaluation.evaluation import Evaluation
from gahbench.networks.trained import Trained
from gahbench.registry.registry import Registry

#: Those that have values on any family with 8 images, whatever the network.
METRICS = (
    "adaptation", "spectrum", "self-consistency", "capture", "contour-anisotropy", "sparsity[haar]",
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


@pytest.mark.parametrize("name", ["bf-cnn[width=4,layers=4]", "dncnn[width=4,layers=4]"])
def test_networks_are_compared_with_bases(name):
    dataset = gahbench.create("dataset", "c-alpha", alpha=2.0, size=8)
    reference = gahbench.create("reference", f"untrained[{name},initialisation=kaiming]")
    reference.fit(gahbench.TrainingData(dataset))
    evaluation = Evaluation(reference, dataset.images("test", 32), [SIGMA], dataset=dataset)
    for metric in ("direction[haar]", "alignment[haar]", "alignment[graph-laplacian]", "truth-alignment"):
        scores = gahbench.create("metric", metric).score(evaluation)
        assert all(map(math.isfinite, scores.value)), metric
        assert {"left-out"} <= set(scores.part), metric


def trace(network, noisy):
    """Return the trace of the network's Jacobian at an image (C, H, W), from the derivative of each value by itself."""
    size = noisy.numel()
    copies = noisy.expand(size, *noisy.shape).clone().requires_grad_()
    denoised = network(copies, torch.full((size,), SIGMA))
    # The k-th value of the k-th copy, whose only dependence is on that copy.
    (gradient,) = torch.autograd.grad(denoised.flatten(1).diagonal().sum(), copies)
    return float(gradient.flatten(1).diagonal().sum())
