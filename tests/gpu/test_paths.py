"""Code paths of gahbench that compute on a device agree on the CPU and on a GPU, or on the stand-in for a GPU.

``tests/devices/test_stand_in.py`` runs these tests on the stand-in. No training step may wait for the GPU.
"""

import pytest
import torch
from devices import stand_in
from small_fits import CPU, make, weights
from small_plugins import SMALL
from torch.utils import _pytree as tree

import gahbench
from gahbench import Reference, Truth, sampling
from gahbench.contracts.truth import TrainingData, denoise_by_level
from gahbench.evaluation import Evaluation
from gahbench.jacobian import Jacobian, top
from gahbench.networks import Trained, build_network
from gahbench.networks.network_facts import with_random_weights
from gahbench.registry.registry import Registry

SIGMA, SHAPE = 0.1, (1, 8, 8)
FAMILIES = ("c-alpha[size=8]", "gaussian-field[size=8]", "discs[size=8]")


@pytest.fixture
def compare(gpu):
    """Return a function that compares the numbers that a function of the device returns, relative to the largest."""

    def run(compute, tolerance=1e-4):
        expected, results = (
            [torch.as_tensor(leaf).cpu().double() for leaf in tree.tree_leaves(compute(device)) if leaf is not None]
            for device in (CPU, gpu)
        )
        assert expected
        tolerance = tolerance if gpu.type == stand_in.NAME else max(tolerance, 1e-3)
        for result, reference in zip(results, expected, strict=True):
            scale = float(reference.abs().nan_to_num().amax()) if reference.numel() else 1.0
            assert torch.allclose(result, reference, rtol=0, atol=tolerance * max(scale, 1e-30), equal_nan=True)

    return run


def noisy(clean):
    return clean + SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))


def network(name):
    """Return a small network with random weights, in evaluation mode."""
    configured = Registry().configure("architecture", name, **SMALL[name])
    return with_random_weights(build_network(lambda: configured.build(SHAPE), 0), SHAPE).eval()


def fitted(kind, name):
    """Return a small basis or reference, a dataset that supports it and to which it is fitted, and test images."""
    plugin = gahbench.create(kind, name, **SMALL.get(name, {}))
    datasets = (gahbench.create("dataset", family) for family in FAMILIES)
    dataset = next(dataset for dataset in datasets if plugin.supports(dataset))
    plugin.fit(TrainingData(dataset))
    return plugin, dataset, dataset.images("test", 2)


@pytest.mark.parametrize(
    "options",
    [
        {"clip": 1.0, "ema": 0.9},
        {"weighting": "edm", "ema": None},
        {"train_images": 8, "epoch_images": 16},
        {"weighting": "edm"},
        {"optimizer": "muon", "noise": "quadratic"},
        {"architecture": "nafnet[width=8,encoder=[1],decoder=[1]]"},
        {"architecture": "dncnn[width=8,layers=6]"},
    ],
    ids=str,
)
def test_training_steps(gpu, compare, options):
    if gpu.type != stand_in.NAME:
        pytest.skip("a GPU draws other random numbers")

    def steps(device):
        trainer = make(device=device, **options)
        losses = [trainer.step(0, 0.0)]
        with stand_in.record_waits() as waits:
            losses.append(trainer.step(1, 1 / 30))
        assert waits == []
        trainer.average.write()
        return [losses, weights(trainer.network)]

    compare(steps)


@pytest.mark.parametrize("name", ["bf-cnn", "ffdnet", "unet"])
def test_networks_and_their_jacobians(compare, name):
    clean = gahbench.create("dataset", FAMILIES[0]).images("test", 2)

    def compute(device):
        trained = Trained(network(name), device)
        maps = Jacobian(trained.network, noisy(clean).to(device), SIGMA)
        vectors = torch.ones(2, 3, clean[0].numel(), device=device)
        products = [maps.matvec(vectors), maps.rmatvec(vectors), top(maps, 3).values]
        return [trained.denoise(noisy(clean), SIGMA, Truth(clean)), *products]

    compare(compute)


@pytest.mark.parametrize("name", ["bandlet", "graph-laplacian", "haar", "pca", "wavelet-ti"])
def test_bases(compare, name):
    basis, dataset, clean = fitted("basis", name)

    def transform(device):
        truth = Truth(clean.to(device), dataset)
        adapted = basis.adapt_to(truth, SIGMA)
        coefficients = adapted.analysis(truth.clean)
        traces = torch.full((len(clean),), clean[0].numel() / 8, dtype=torch.float64, device=device)
        maps = basis.filters(truth, SIGMA).at(traces)
        results = [coefficients.square().flatten(1).sum(1), adapted.synthesis(coefficients)]
        return [*results, adapted.noise_levels(dataset.shape), maps.matvec(truth.clean.flatten(1)[:, None])]

    compare(transform)


@pytest.mark.parametrize(
    "name", ["bayes-shrink", "by-level", "empirical-bayes", "heat-kernel", "lower-bound", "optimal", "untrained"]
)
def test_references(compare, name):
    def denoise(device):
        torch.manual_seed(0)
        reference, dataset, clean = fitted("reference", name)
        if type(reference).move is Reference.move:
            return reference.denoise(noisy(clean).to(device), SIGMA, Truth(clean.to(device), dataset))
        reference.move(device)
        start, truth = noisy(clean), Truth(clean, dataset)
        results = [denoise_by_level(reference, start, torch.tensor([SIGMA, 2 * SIGMA]), truth)]
        if (maps := reference.jacobian(start, SIGMA, truth)) is not None:
            results.append(maps.matvec(torch.ones(2, 1, start[0].numel(), device=maps.like.device)))
        return results

    compare(denoise)


@pytest.mark.parametrize("name", ["adaptation", "alignment", "closest-training", "spectrum", "ssim"])
def test_metrics(compare, name):
    # SSIM needs windows of 11 pixels.
    dataset = gahbench.create("dataset", "c-alpha", size=11 if name == "ssim" else 8)

    def score(device):
        settings = sampling.Sampling(count=4, sampler="flow", sigma_start=1.0, sigma_end=0.05)
        evaluation = Evaluation(
            Trained(network("bf-cnn"), device),
            dataset.images("test", 2),
            (SIGMA, 0.4),
            dataset=dataset,
            device=device,
            sampling=settings,
            learned_from=TrainingData(dataset, "train", 8),
        )
        return gahbench.create("metric", name).score(evaluation).value

    compare(score, 1e-3)


@pytest.mark.parametrize("options", [{"step": 0.1, "beta": 0.5}, {"sampler": "flow", "levels": 10, "solver": "heun"}])
def test_samples(compare, options):
    settings = sampling.Sampling(count=3, seed=0, sigma_start=1.0, sigma_end=0.01, **options)

    def draw(device):
        wrapped, calls = sampling.wrap_network(network("unet"), device), []
        with stand_in.record_waits() as waits:
            counted = lambda *inputs: calls.append(0) or wrapped(*inputs)  # noqa: E731
            drawn = sampling.draw_samples(counted, SHAPE, settings, batch=2, device=device)
        # The sampler waits at most once in a step, and three times for the results.
        assert len(waits) <= len(calls) + 3, waits
        return [drawn.images, drawn.steps, drawn.sigma]

    compare(draw)
