import pytest
import torch

from gahbench.contracts.truth import Truth
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
