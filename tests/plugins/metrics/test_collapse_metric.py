"""The noise level of the collapse: closed forms, and the posterior itself."""

import math

import pytest
import torch

import gahbench
from gahbench import TrainingData
from gahbench.evaluation import Evaluation
from gahbench_plugins.metrics.collapse import collapse_levels


def levels(images, chosen, seed=1):
    noise = torch.randn(chosen, images.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return noise, collapse_levels(images[:chosen], noise, images)


@pytest.mark.parametrize("count", [100, 2000])
@pytest.mark.parametrize("deviation", [0.1, 3.0])
def test_it_is_that_of_white_gaussian_images_in_theory(count, deviation):
    """Equation of the collapse for Gaussian data in many dimensions: 1 + s^2 / sigma^2 = N^(2/d)."""
    size = 256
    generator = torch.Generator().manual_seed(0)
    images = deviation * torch.randn(count, size, generator=generator, dtype=torch.float64)
    _, found = levels(images, 64)
    expected = deviation / math.sqrt(count ** (2 / size) - 1)
    error = float(found.log().std()) / 8
    # Corrections are of the order of 1 / log N.
    assert found.log().mean().exp() == pytest.approx(expected, rel=0.15 + 3 * error)


def test_the_posterior_is_a_half_there_and_more_below():
    images = torch.randn(200, 30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    noise, found = levels(images, 50)

    def weights(share):
        noisy = images[:50] + (share * found)[:, None] * noise
        distances = (noisy[:, None] - images[None]).square().sum(2) / (2 * (share * found)[:, None] ** 2)
        return torch.softmax(-distances, dim=1)[torch.arange(50), torch.arange(50)]

    torch.testing.assert_close(weights(1.0), torch.full((50,), 0.5, dtype=torch.float64))
    assert weights(0.8).mean() > 0.6
    assert weights(1.25).mean() < 0.4


def test_it_scales_with_the_images_and_falls_with_their_number():
    images = torch.randn(4000, 20, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    noise, found = levels(images[:400], 40)
    torch.testing.assert_close(collapse_levels(5 * images[:40], noise, 5 * images[:400]), 5 * found)
    more = collapse_levels(images[:40], noise, images)
    # More images only add to the weight of the others.
    assert (more <= found * (1 + 1e-9)).all()
    assert more.mean() < 0.95 * found.mean()


def test_one_image_has_none_and_an_unknown_training_set_neither():
    dataset = gahbench.create("dataset", "discs", size=16)
    denoiser = gahbench.create("reference", "identity")
    metric = gahbench.create("metric", "collapse")
    clean = dataset.images("test", 8)

    def score(learned):
        return metric.score(Evaluation(denoiser, clean, [0.1], dataset=dataset, learned_from=learned))

    assert len(score(TrainingData(dataset, count=1)).value) == 0
    assert len(score(None).value) == 0
    found = score(TrainingData(dataset, count=50))
    assert len(found.value) == 8
    assert all(0 < value < 10 for value in found.value)
    assert list(score(TrainingData(dataset, count=50)).value) == list(found.value)
