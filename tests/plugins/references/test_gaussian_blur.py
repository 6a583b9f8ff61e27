import numpy as np
import pytest
import torch
from scipy import ndimage

from gahbench.contracts.truth import TrainingData, Truth
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.gaussian_blur import GaussianBlur

CLEAN = CAlpha(2.0, 16).images("test", 4)


def blur(images, width):
    return GaussianBlur(width).denoise(images, 0.1, Truth(images))


@pytest.mark.parametrize("width", [2.5, 4.0])
def test_is_the_sampled_gaussian_with_mirrored_borders(width):
    images = torch.rand(2, 2, 20, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = ndimage.gaussian_filter(images.numpy(), (0, 0, width, width), mode="reflect", truncate=9)
    np.testing.assert_allclose(blur(images, width).numpy(), expected, atol=1e-7)


def test_blurring_twice_adds_squares_of_widths():
    images = torch.rand(1, 1, 9, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(blur(blur(images, 0.6), 0.8), blur(images, 1.0))


def test_limits():
    flat = torch.full((1, 3, 8, 8), 0.3)
    torch.testing.assert_close(blur(flat, 2.0), flat)
    torch.testing.assert_close(blur(CLEAN, 1e-3), CLEAN)
    torch.testing.assert_close(blur(CLEAN, 1e3), CLEAN.mean((2, 3), keepdim=True).expand_as(CLEAN))
    assert GaussianBlur().risk(Truth(CLEAN), 0.0).tolist() == [0] * 4
    assert GaussianBlur().denoise(CLEAN, 0.0, Truth(CLEAN)) is CLEAN


def test_the_width_grows_with_the_noise_and_is_nearly_the_best():
    dataset = CAlpha(2.0, 16)
    tuned = GaussianBlur(images=64)
    tuned.fit(TrainingData(dataset))
    sigmas = (0.01, 0.05, 0.2)
    widths = [tuned.value(sigma) for sigma in sigmas]
    assert widths == sorted(set(widths))
    clean = Truth(dataset.images("validation", 64))
    for sigma, width in zip(sigmas, widths, strict=True):
        best = min(float(GaussianBlur(w).risk(clean, sigma).mean()) for w in width * torch.logspace(-1, 1, 41))
        # Candidates are a factor of 1.26 apart, and tried on one draw of noise.
        assert float(tuned.risk(clean, sigma).mean()) < 1.05 * best
    assert "width tuned on 64 validation images" in tuned.notes[0]
