import math

import pytest
import torch

from gahbench.sampling.statistics.spectra import radial_spectrum, spectrum_distance
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.gaussian_blur import GaussianBlur


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 12, 20)])
def test_the_power_of_white_noise_is_its_variance_at_all_frequencies(shape):
    spectrum = radial_spectrum(0.3 * noise(4000, *shape))
    assert spectrum.shape == (min(shape[1:]) // 2,)
    # Subtracting the mean of each image reduces the lowest frequencies a little.
    torch.testing.assert_close(spectrum[2:], torch.full_like(spectrum[2:], 0.09), rtol=0.03, atol=0)


@pytest.mark.parametrize("cycles", [2, 5])
def test_the_power_of_a_wave_is_at_its_frequency(cycles):
    """A Hann window spreads a quarter of the power to each neighbouring frequency, and no power further."""
    angles = 2 * math.pi * cycles * torch.arange(32).double() / 32
    spectrum = radial_spectrum(torch.sin(angles).expand(1, 1, 32, 32))
    assert spectrum.argmax() + 1 == cycles
    is_far = torch.ones(16, dtype=torch.bool)
    is_far[max(0, cycles - 3) : cycles + 2] = False
    assert spectrum[is_far].max() < 1e-3 * spectrum.max()


def test_means_and_jumps_across_the_border_add_no_power():
    ramp = torch.linspace(0, 1, 32).double().expand(2, 1, 32, 32)
    spectrum = radial_spectrum(ramp + 7)
    torch.testing.assert_close(spectrum, radial_spectrum(ramp))
    assert spectrum[8:].max() < 1e-5 * spectrum[0]


def test_the_distance_of_scaled_images_is_the_scale_in_decibels():
    images = noise(5, 1, 16, 16)
    assert spectrum_distance(2 * images + 1, images) == pytest.approx(20 * math.log10(2))
    assert spectrum_distance(images, images) == 0
    assert spectrum_distance(images, 2 * images) == pytest.approx(20 * math.log10(2))


def test_halves_of_a_set_are_close_and_blurred_or_noisy_images_are_not():
    images = CAlpha(2.0, 24).images("train", 400)
    null = spectrum_distance(images[::2], images[1::2])
    blurred = GaussianBlur(0.7).denoise(images[::2], 0.1, None)
    assert null < 1
    assert spectrum_distance(blurred, images[1::2]) > 4 * null
    assert spectrum_distance(images[::2] + 0.05 * noise(200, 1, 24, 24), images[1::2]) > 4 * null


def test_invalid_images_are_rejected():
    for images in (torch.zeros(0, 1, 8, 8), torch.zeros(2, 1, 3, 8), torch.zeros(2, 8, 8)):
        with pytest.raises(ValueError, match="4 or more"):
            radial_spectrum(images)
    with pytest.raises(ValueError, match="one shape"):
        spectrum_distance(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 9))
    assert spectrum_distance(torch.zeros(2, 1, 8, 8), noise(2, 1, 8, 8)) == math.inf
