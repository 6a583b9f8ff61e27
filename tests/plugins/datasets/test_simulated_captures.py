"""The simulated camera: its steps against closed forms, and the noise that it makes."""

import pytest
import torch

from gahbench_plugins.datasets.simulated_captures import SimulatedCaptures, demosaic, mosaic, to_linear, to_srgb
from gahbench_plugins.metrics.recorded import correlation


def flat(intensity, side=256):
    return torch.full((3, side, side), intensity, dtype=torch.float64)


def test_the_srgb_curve_has_its_published_values_and_inverse():
    linear = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert torch.allclose(to_linear(to_srgb(linear)), linear, atol=1e-9)
    # IEC 61966-2-1: mid grey of 18 % is 0.4614 (117.6 of 255), and the line meets the power.
    assert float(to_srgb(torch.tensor(0.18).double())) == pytest.approx(0.46136, abs=1e-5)
    ends = to_srgb(torch.tensor([0.0031308, 0.0031309]).double())
    assert float(ends[1] - ends[0]) == pytest.approx(12.92e-7, rel=0.3)


def test_demosaicing_is_exact_for_linear_images_of_any_colour():
    """The filters of Malvar et al. reproduce each colour plane that is linear in rows and columns."""
    rows, columns = torch.meshgrid(*(torch.linspace(0, 1, 16, dtype=torch.float64),) * 2, indexing="ij")
    ramp = 0.2 + 0.3 * rows + 0.4 * columns
    grey = torch.stack([ramp, ramp, ramp])
    inside = (slice(None), slice(2, -2), slice(2, -2))
    assert torch.allclose(demosaic(mosaic(grey))[inside], grey[inside])
    colours = torch.stack([ramp, ramp + 0.1, ramp - 0.2])
    assert torch.allclose(demosaic(mosaic(colours))[inside], colours[inside])
    # The border is mirrored, so that flat colours are exact everywhere.
    constant = torch.tensor([0.3, 0.5, 0.9], dtype=torch.float64).view(3, 1, 1).expand(3, 16, 16)
    assert torch.allclose(demosaic(mosaic(constant)), constant)


def test_without_mosaic_gamma_and_jpeg_the_noise_is_white_with_the_variance_of_photons_and_read_out():
    camera = SimulatedCaptures(photons=200, read_noise=3, mosaic=False, gamma=False, quality=None)
    for intensity in (0.2, 0.6):
        clean, noisy = camera.take(flat(intensity), 0)
        assert torch.equal(clean, flat(intensity))
        variance = float((noisy - clean).square().mean())
        # The variance of 196608 values has a relative standard error of 0.3 %.
        assert variance == pytest.approx(intensity / 200 + (3 / 200) ** 2, rel=0.015)
        noise = (noisy - clean)[:, None]
        assert float(correlation(noise, 1, -1).abs().max()) < 4 / 256


def test_gamma_multiplies_noise_by_its_derivative():
    camera = SimulatedCaptures(photons=20_000, read_noise=0, mosaic=False, gamma=True, quality=None)
    clean, noisy = camera.take(flat(0.2), 0)
    slope = 1.055 / 2.4 * 0.2 ** (1 / 2.4 - 1)
    assert float((noisy - clean).square().mean().sqrt()) == pytest.approx(slope * (0.2 / 20_000) ** 0.5, rel=0.01)


def test_demosaicing_correlates_the_noise_of_neighbours_as_its_filters_do():
    """The green plane: half of the pixels are white noise, and the others filter it with known weights."""
    camera = SimulatedCaptures(photons=200, read_noise=0, mosaic=True, gamma=False, quality=None)
    clean, noisy = camera.take(flat(0.5, 512), 0)
    noise = (noisy - clean)[1:2, None]
    sigma2 = 0.5 / 200
    # Variances: 1 at green pixels; 4 (2/8)^2 + (4/8)^2 + 4 (1/8)^2 at the others.
    variance = (1 + 4 / 16 + 1 / 4 + 4 / 64) / 2 * sigma2
    assert float(noise.square().mean()) == pytest.approx(variance, rel=0.02)
    # A neighbour of a green pixel has the weight 2/8 of it, and both orders of the pair have this covariance.
    assert float(correlation(noise, 1, -1)) == pytest.approx(0.25 * sigma2 / variance, abs=0.02)
