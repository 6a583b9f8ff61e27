from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from gahbench_plugins.datasets import _c_alpha_published as c_alpha_published
from gahbench_plugins.datasets.c_alpha import CAlpha


def wave_filter(noise, exponent):
    """Multiply by |k|^-exponent, 1 at frequency 0, in the full Fourier domain, frequency by frequency."""
    spectrum = np.fft.fftn(noise)
    for place in np.ndindex(*noise.shape):
        signed = [k if k <= side / 2 else k - side for k, side in zip(place, noise.shape, strict=True)]
        modulus = np.sqrt(sum(k**2 for k in signed))
        spectrum[place] *= modulus**-exponent if modulus else 1.0
    return np.fft.ifftn(spectrum).real


def one_image(contour_noise, first_noise, second_noise, bottom, top, first_is_bright, alpha, background_alpha):
    """One image of the published procedure, pixel by pixel, in float64."""
    size = len(contour_noise)
    tops = [round(size * height) + size // 2 for height in wave_filter(contour_noise, alpha)]
    below = np.array([[float(row >= tops[column]) for column in range(size)] for row in range(size)])
    first, second = (wave_filter(noise, background_alpha) for noise in (first_noise, second_noise))
    first, second = ((field - field.min()) / (field.max() - field.min()) for field in (first, second))
    if first_is_bright:
        first, second = first * (1 - bottom) + bottom, second * top
    else:
        first, second = first * top, second * (1 - bottom) + bottom
    image = np.empty((size, size))
    for row in range(size):
        for column in range(size):
            neighbours = [(abs(row - up), abs(column - left)) for up in (0, 1) for left in (0, 1)]
            # |0 - 1| is the mirror image, 1, of what is above the first row.
            share = np.mean([below[place] for place in neighbours])
            image[row, column] = share * first[row, column] + (1 - share) * second[row, column]
    return image


@pytest.mark.parametrize("size", [16, 21])
@pytest.mark.parametrize(("alpha", "background_alpha"), [(1.0, 1.0), (2.0, 3.0), (4.0, 2.0)])
def test_images_are_those_of_the_published_procedure(size, alpha, background_alpha):
    generator = torch.Generator().manual_seed(3)
    count = 6
    contours = 2 * torch.rand(count, size, generator=generator) - 1
    noise = 2 * torch.rand(2 * count, size, size, generator=generator) - 1
    limits = torch.rand(3, count, 1, 1, generator=generator)
    masks = c_alpha_published.masks(contours, alpha)
    images = c_alpha_published.images(masks, noise, background_alpha, limits)
    bright = set()
    for index in range(count):
        bottom, top, coin = limits[:, index, 0, 0].double().tolist()
        bright.add(coin < 0.5)
        parts = contours[index], noise[index], noise[count + index]
        expected = one_image(
            *(part.double().numpy() for part in parts), bottom, top, coin < 0.5, alpha, background_alpha
        )
        np.testing.assert_allclose(images[index].numpy(), expected, atol=1e-5)
    assert bright == {True, False}


def test_a_contour_that_leaves_the_image_stays_at_its_border():
    noise = torch.full((2, 16), 0.9)
    noise[1] *= -1
    below, above = c_alpha_published.masks(noise, 2.0)
    assert (below == 0).all()
    assert (above == 1).all()


def test_a_dataset_draws_contours_then_backgrounds_then_limits():
    dataset = CAlpha(2.0, 16, "paper", background_alpha=3.0)
    images = dataset.draw(torch.Generator().manual_seed(5), 7)
    generator = torch.Generator().manual_seed(5)
    masks = c_alpha_published.masks(2 * torch.rand(7, 16, generator=generator) - 1, 2.0)
    noise = 2 * torch.rand(14, 16, 16, generator=generator) - 1
    expected = c_alpha_published.images(masks, noise, 3.0, torch.rand(3, 7, 1, 1, generator=generator))
    assert torch.equal(images[:, 0], expected)


def test_images_do_not_depend_on_how_many_are_made_together(monkeypatch):
    together = CAlpha(2.0, 20, "paper").images("test", 64)
    monkeypatch.setattr(c_alpha_published, "TOGETHER", 5)
    # Batches of other sizes may round differently.
    torch.testing.assert_close(CAlpha(2.0, 20, "paper").images("test", 64), together, atol=1e-6, rtol=0)


def test_noise_of_one_draw_is_not_that_of_another_thread():
    dataset = CAlpha(2.0, 16, "paper")
    alone = [dataset.draw(torch.Generator().manual_seed(seed), 64) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: dataset.draw(torch.Generator().manual_seed(seed), 64), range(4)))
    assert all(torch.equal(one, other) for one, other in zip(alone, found, strict=True))
