"""References with fixed filters, or based on patches."""

import importlib.util
import itertools

import numpy as np
import pytest
import torch
from learned_references import with_noise
from random_images import uniform as random
from scipy import ndimage
from scipy.fft import dctn, idctn

from gahbench.contracts.truth import Truth
from gahbench_plugins.datasets.discs import Discs
from gahbench_plugins.references.bm3d import BM3D
from gahbench_plugins.references.gaussian_blur import GaussianBlur
from gahbench_plugins.references.low_pass import LowPass
from gahbench_plugins.references.nl_means import NonLocalMeans
from gahbench_plugins.references.tv import TotalVariation


@pytest.mark.parametrize("share", [0.03, 0.1, 0.5])
@pytest.mark.parametrize("shape", [(12, 12), (6, 15)])
def test_the_cosines_of_lowest_frequency_are_kept(share, shape):
    noisy = with_noise(torch.zeros(2, 3, *shape).double(), 1.0)
    result = LowPass(share).denoise(noisy, 0.1, Truth(noisy)).numpy()
    before, after = (dctn(some, norm="ortho", axes=(2, 3)) for some in (noisy.numpy(), result))
    kept = np.abs(after).max((0, 1)) > 1e-12
    assert kept.sum() == round(share * shape[0] * shape[1])
    np.testing.assert_allclose(after[:, :, kept], before[:, :, kept], atol=1e-12)
    frequencies = np.hypot(np.arange(shape[0])[:, None] / shape[0], np.arange(shape[1]) / shape[1])
    assert frequencies[kept].max() <= frequencies[~kept].min() + 1e-12
    np.testing.assert_allclose(idctn(after * kept, norm="ortho", axes=(2, 3)), result, atol=1e-12)


def blur(images, width):
    return GaussianBlur(width).denoise(images, 0.1, Truth(images))


@pytest.mark.parametrize("width", [2.5, 4.0])
def test_gaussian_blur_is_a_sampled_gaussian_with_reflecting_borders(width):
    images = random(2, 2, 20, 13)
    expected = ndimage.gaussian_filter(images.numpy(), (0, 0, width, width), mode="reflect", truncate=9)
    np.testing.assert_allclose(blur(images, width).numpy(), expected, atol=1e-7)


def test_blurring_twice_adds_squares_of_widths():
    images = random(1, 1, 9, 12)
    torch.testing.assert_close(blur(blur(images, 0.6), 0.8), blur(images, 1.0))


def tv_denoised(images, weight):
    return TotalVariation(weight).denoise(images, 0.1, Truth(images))


@pytest.mark.parametrize("weight", [0.1, 0.4])
def test_total_variation_reduces_a_step_by_the_theoretical_amount(weight):
    """The minimiser of |u - y|^2 / 2 + w TV(u) moves a flat side of n columns by w / n."""
    step = torch.zeros(1, 1, 6, 20, dtype=torch.float64)
    step[..., 8:] = 1
    result = tv_denoised(step, weight)
    expected = torch.where(step > 0, 1 - weight / 12, weight / 8).double()
    # The iteration stops at a relative change of 1e-5.
    torch.testing.assert_close(result, expected, atol=0.04 * weight, rtol=0)


def averaged(images, h, sigma=0.1, **parameters):
    return NonLocalMeans(h, **parameters).denoise(images, sigma, Truth(images))


@pytest.mark.parametrize(("patch", "distance", "channels"), [(1, 1, 1), (3, 2, 1), (5, 2, 3), (5, 7, 1)])
def test_non_local_means_agree_with_their_definition(patch, distance, channels):
    (image,) = images = random(1, channels, 6, 7)
    sigma, h, half = 0.1, 0.3, patch // 2
    # The mode "symmetric" of numpy repeats the border pixel, as the reference does.
    padded = np.pad(image.numpy(), [(0, 0), *[(half + distance,) * 2] * 2], mode="symmetric")
    expected = np.zeros(image.shape)
    for row, column in itertools.product(range(6), range(7)):
        total = 0.0
        own_patch = padded[:, row + distance :, column + distance :][:, :patch, :patch]
        for down, across in itertools.product(range(2 * distance + 1), repeat=2):
            other_patch = padded[:, row + down :, column + across :][:, :patch, :patch]
            weight = np.exp(-max(np.mean((own_patch - other_patch) ** 2) - 2 * sigma**2, 0) / h**2)
            total += weight
            expected[:, row, column] += weight * other_patch[:, half, half]
        expected[:, row, column] /= total
    np.testing.assert_allclose(averaged(images, h, sigma, patch=patch, distance=distance)[0], expected)


DISCS = Discs(32).images("test", 4)


installed = pytest.mark.extras("deepinv", "ptwt")


@installed
@pytest.mark.parametrize("sigma", [0.03, 0.1])
def test_patch_methods_denoise_better_than_any_blur(sigma):
    images = with_noise(DISCS, sigma)
    error = (BM3D().denoise(images, sigma, Truth(DISCS)) - DISCS).square().mean()
    assert error < sigma**2 / 5
    for width in (0.3, 0.5, 0.8, 1.2, 2.0):
        blurred = GaussianBlur(width).denoise(images, sigma, Truth(DISCS))
        assert error < 0.8 * (blurred - DISCS).square().mean()


@installed
def test_colours_are_denoised_together():
    """Three equal channels under independent noise have a mean with a third of the variance."""
    clean, sigma = DISCS.expand(-1, 3, -1, -1), 0.1
    images = with_noise(clean, sigma)
    result = BM3D().denoise(images, sigma, Truth(clean))
    grey = BM3D().denoise(images.mean(1, keepdim=True), sigma / 3**0.5, Truth(DISCS))
    # Differences of the channels are pure noise, which is almost completely removed.
    assert (result - grey).square().mean() < 0.02 * sigma**2
    # Rounding errors change the matching of some patches.
    assert (result.mean(1, keepdim=True) - grey).square().mean() < 1e-5 * sigma**2


@installed
def test_bm3d_keeps_constant_images_and_their_type():
    flat = torch.full((1, 1, 8, 8), 0.3, dtype=torch.float64)
    torch.testing.assert_close(BM3D().denoise(flat, 0.1, Truth(flat)), flat, atol=1e-5, rtol=0)
    assert BM3D().denoise(flat, 0.0, Truth(flat)) is flat


@pytest.mark.parametrize("missing", ["deepinv", "ptwt"])
def test_an_error_names_the_missing_extra(monkeypatch, missing):
    result = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else result(name) or True)
    with pytest.raises(ValueError, match=rf'{missing} is not installed: pip install "gahbench\[bm3d\]"'):
        BM3D()


@installed
def test_bm3d_pads_images_smaller_than_a_patch():
    tiny = torch.rand(1, 1, 7, 9)
    result = BM3D().denoise(tiny, 0.1, Truth(tiny))
    whole = BM3D().denoise(torch.cat([tiny, tiny[..., -1:, :]], 2), 0.1, Truth(tiny))
    assert torch.equal(result, whole[..., :7, :])
