import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from gahbench.contracts.truth import Truth
from gahbench_plugins.references.nl_means import NonLocalMeans


def denoised(images, h, sigma=0.1, **parameters):
    return NonLocalMeans(h, **parameters).denoise(images, sigma, Truth(images))


def random(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_with_all_weights_1_it_is_the_mean_of_the_window():
    images = random(2, 1, 20, 22)
    found = denoised(images, 1e3, distance=3)
    mean = functional.avg_pool2d(images, 7, stride=1)
    torch.testing.assert_close(found[..., 6:-6, 6:-6], mean[..., 3:-3, 3:-3], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("patch", "distance", "channels"), [(1, 1, 1), (3, 2, 1), (5, 2, 3)])
def test_against_the_definition_pixel_by_pixel(patch, distance, channels):
    (image,) = images = random(1, channels, 6, 7)
    sigma, h, half = 0.1, 0.3, patch // 2
    # numpy's "symmetric" repeats the border pixel, as the mirror does.
    padded = np.pad(image.numpy(), [(0, 0), *[(half + distance,) * 2] * 2], mode="symmetric")
    expected = np.zeros(image.shape)
    for row, column in itertools.product(range(6), range(7)):
        total = 0.0
        here = padded[:, row + distance :, column + distance :][:, :patch, :patch]
        for down, across in itertools.product(range(2 * distance + 1), repeat=2):
            there = padded[:, row + down :, column + across :][:, :patch, :patch]
            weight = np.exp(-max(np.mean((here - there) ** 2) - 2 * sigma**2, 0) / h**2)
            total += weight
            expected[:, row, column] += weight * there[:, half, half]
        expected[:, row, column] /= total
    np.testing.assert_allclose(denoised(images, h, sigma, patch=patch, distance=distance)[0], expected)


def test_it_turns_with_the_image():
    images = random(2, 1, 12, 14)
    for axes in ([2], [3], [2, 3]):
        torch.testing.assert_close(denoised(images.flip(axes), 0.2), denoised(images, 0.2).flip(axes))


def test_equal_patches_are_averaged_and_others_are_not():
    """On stripes every pixel is averaged with its like: they stay as they are, however far they are apart."""
    stripes = (torch.arange(24) % 4 < 2).double().expand(1, 1, 24, 24)
    torch.testing.assert_close(denoised(stripes, 0.1), stripes, atol=1e-6, rtol=0)
    noisy = stripes + 0.1 * torch.randn(1, 1, 24, 24, generator=torch.Generator().manual_seed(0)).double()
    error = (denoised(noisy, 0.1) - stripes)[..., 6:-6, 6:-6].square().mean()
    assert error < 0.1 * 0.1**2


def test_limits():
    images = random(2, 1, 12, 12)
    torch.testing.assert_close(denoised(images, 1e-4, sigma=1e-6), images, atol=1e-5, rtol=0)
    flat = torch.full((1, 3, 12, 12), 0.3)
    torch.testing.assert_close(denoised(flat, 0.1), flat)


def test_errors_say_what_is_accepted():
    with pytest.raises(ValueError, match="odd sides"):
        NonLocalMeans(patch=4)


def test_images_smaller_than_a_patch_are_continued():
    tiny = torch.rand(1, 1, 2, 3)
    found = NonLocalMeans(1e3).denoise(tiny, 0.1, Truth(tiny))
    # All weights are equal: an average over a window of mirror images, in which each pixel is nearly as frequent.
    torch.testing.assert_close(found, tiny.mean().expand(1, 1, 2, 3), atol=0.1, rtol=0)
