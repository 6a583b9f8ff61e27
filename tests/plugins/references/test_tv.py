import pytest
import torch

from gahbench.contracts.truth import TrainingData, Truth
from gahbench_plugins.datasets.discs import Discs
from gahbench_plugins.references.tv import TotalVariation


def denoised(images, weight):
    return TotalVariation(weight).denoise(images, 0.1, Truth(images))


@pytest.mark.parametrize("weight", [0.1, 0.4])
def test_a_step_comes_down_as_the_theory_says(weight):
    """Of |u - y|^2 / 2 + w TV(u): a side of n columns moves by w / n, and stays flat."""
    step = torch.zeros(1, 1, 6, 20, dtype=torch.float64)
    step[..., 8:] = 1
    found = denoised(step, weight)
    expected = torch.where(step > 0, 1 - weight / 12, weight / 8).double()
    # It stops at a relative change of 1e-5 of the objective.
    torch.testing.assert_close(found, expected, atol=0.04 * weight, rtol=0)


def test_limits():
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(denoised(images, 1e-6), images, atol=1e-5, rtol=0)
    flat = torch.full((1, 3, 8, 8), 0.3)
    torch.testing.assert_close(denoised(flat, 0.2), flat)
    torch.testing.assert_close(
        denoised(images, 100.0), images.mean((2, 3), keepdim=True).expand_as(images), atol=0.02, rtol=0
    )


def test_every_image_and_channel_alone():
    images = torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    together = denoised(images, 0.1)
    apart = torch.stack([torch.cat([denoised(c[None, None], 0.1)[0] for c in image]) for image in images])
    torch.testing.assert_close(together, apart)
    assert denoised(images.double(), 0.1).dtype == torch.float64


def test_the_weight_grows_with_the_noise():
    dataset = Discs(16)
    tuned = TotalVariation(images=8)
    tuned.fit(TrainingData(dataset))
    clean = dataset.images("test", 8)
    weights = []
    for sigma in (0.02, 0.1, 0.3):
        noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        assert (tuned.denoise(noisy, sigma, Truth(clean)) - clean).square().mean() < 0.5 * sigma**2
        weights.append(tuned.value(sigma))
    assert weights == sorted(set(weights))
