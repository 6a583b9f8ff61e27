"""Manifolds whose posterior is exact: rays and sinusoids."""

import math

import numpy as np
import pytest
import torch
from constructing import construct
from scipy.stats import truncnorm

from gahbench._util.noise import evaluation_noise
from gahbench_plugins.datasets._manifold import Manifold
from gahbench_plugins.datasets.rays import Rays
from gahbench_plugins.datasets.sinusoids import Sinusoids

RAYS = construct(Rays, "discs[size=12]")
WAVES = Sinusoids(12, rows=2, columns=-1)


def noisy_images(dataset, count, sigma):
    clean = dataset.images("test", count)
    return clean, clean + evaluation_noise(count, dataset.shape, sigma, "tests")


def test_images_are_scales_of_one():
    images = RAYS.images("train", 2000).flatten(1).double()
    scales = images @ RAYS.image.flatten().double() / RAYS.image.double().square().sum()
    torch.testing.assert_close(scales[:, None] * RAYS.image.flatten(), images, atol=1e-6, rtol=0)
    # Kolmogorov-Smirnov, beyond the 1e-4 quantile.
    assert (scales.sort().values - torch.linspace(0, 1, 2000)).abs().max() < 2.2 / 2000**0.5


@pytest.mark.parametrize("sigma", [0.01, 0.3, 5.0])
def test_posterior_is_a_truncated_normal(sigma):
    _, noisy = noisy_images(RAYS, 12, sigma)
    posterior = RAYS.posterior(noisy, sigma)
    assert posterior.ess_fraction is None
    image = RAYS.image.double().flatten().numpy()
    energy = image @ image
    seen, std = noisy.double().flatten(1).numpy() @ image / energy, sigma / energy**0.5
    law = truncnorm(-seen / std, (1 - seen) / std, loc=seen, scale=std)
    np.testing.assert_allclose(posterior.mean.flatten(1).numpy(), law.mean()[:, None] * image, atol=1e-6)
    np.testing.assert_allclose(posterior.trace.numpy(), energy * law.var(), rtol=1e-4)


def test_images_have_one_frequency_and_amplitudes_and_phases_as_stated():
    images = WAVES.images("train", 2000).double()[:, 0]
    spectrum = torch.fft.fft2(images - 0.5) / 72
    coefficient = spectrum[:, 2, -1].clone()
    spectrum[:, 2, -1] = spectrum[:, -2, 1] = 0
    assert spectrum.abs().max() < 1e-6
    ordered = 2 * coefficient.abs().sort().values
    # Kolmogorov-Smirnov, beyond the 1e-4 quantile.
    assert (ordered - torch.linspace(0, 1, 2000)).abs().max() < 2.2 / 2000**0.5
    turns = (coefficient.angle() / (2 * math.pi)).remainder(1).sort().values
    assert (turns - torch.linspace(0, 1, 2000)).abs().max() < 2.2 / 2000**0.5
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0, 10.0])
def test_posterior_agrees_with_a_grid_of_amplitudes_and_phases(sigma):
    _, noisy = noisy_images(WAVES, 12, sigma)
    posterior = WAVES.posterior(noisy, sigma)
    assert posterior.ess_fraction is None
    phases, amplitudes = np.meshgrid(2 * np.pi * np.arange(720) / 720, (np.arange(2000) + 0.5) / 4000)
    cosine, sine = amplitudes * np.cos(phases), -amplitudes * np.sin(phases)
    places = 2 * np.pi / 12 * (2 * np.arange(12)[:, None] - np.arange(12)).ravel()
    for image, mean, trace in zip(noisy.double().numpy(), posterior.mean.numpy(), posterior.trace, strict=True):
        along, across = (image.ravel() - 0.5) @ np.cos(places), (image.ravel() - 0.5) @ np.sin(places)
        # |x|^2 is 72 A^2; the rest of the squared distance is the same for all.
        exponents = (cosine * along + sine * across - 36 * amplitudes**2) / sigma**2
        weights = np.exp(exponents - exponents.max())
        weights /= weights.sum()
        first, second = (weights * cosine).sum(), (weights * sine).sum()
        expected = 0.5 + first * np.cos(places) + second * np.sin(places)
        np.testing.assert_allclose(mean.ravel(), expected, atol=1e-5)
        assert trace.item() == pytest.approx(72 * ((weights * amplitudes**2).sum() - first**2 - second**2), rel=1e-3)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0])
def test_sampling_agrees_with_the_exact_posterior(sigma):
    _, noisy = noisy_images(WAVES, 12, sigma)
    exact, sampled = WAVES.posterior(noisy, sigma), Manifold.posterior(WAVES, noisy, sigma)
    torch.testing.assert_close(sampled.trace, exact.trace, rtol=0.03, atol=0)
    errors = (sampled.mean - exact.mean).double().square().flatten(1).sum(1)
    assert (errors < 1e-3 * exact.trace).all()
    assert sampled.ess_fraction.min() > 0.3


@pytest.mark.parametrize("dataset", [RAYS, WAVES], ids=["rays", "sinusoids"])
def test_trace_is_the_derivative_of_the_mean(dataset):
    # sigma^2 times the divergence of the posterior mean (Kadkhodaie 2024, equations 9 and 10).
    _, noisy = noisy_images(dataset, 3, 0.5)
    moved, step = noisy.double(), 1e-4
    for image, trace in zip(moved, dataset.posterior(moved, 0.5).trace, strict=True):
        units = step * torch.eye(144, dtype=torch.float64).reshape(144, *dataset.shape)
        ahead, behind = (dataset.posterior(image + sign * units, 0.5).mean for sign in (1, -1))
        divergence = torch.diagonal((ahead - behind).flatten(1)).sum() / (2 * step)
        assert trace.item() == pytest.approx(0.25 * divergence.item(), rel=1e-4)


@pytest.mark.parametrize("dataset", [RAYS, WAVES], ids=["rays", "sinusoids"])
def test_trace_is_the_expected_error_and_tends_to_the_variance_of_the_noise_in_each_dimension(dataset):
    for sigma in (1e-3, 0.1, 1.0):
        clean, noisy = noisy_images(dataset, 2000, sigma)
        posterior = dataset.posterior(noisy, sigma)
        excess = (posterior.mean - clean).double().square().flatten(1).sum(1) - posterior.trace
        assert excess.mean().abs() < 4 * excess.std() / 2000**0.5
    small = dataset.posterior(noisy_images(dataset, 200, 1e-3)[1], 1e-3)
    # A few are so near the ends of the prior that these still matter.
    assert small.trace.mean().item() == pytest.approx(dataset.dimension * 1e-6, rel=0.02)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_any_noise_is_survived(scale):
    noisy = WAVES.images("test", 4) + evaluation_noise(4, WAVES.shape, scale, "tests")
    posterior = WAVES.posterior(noisy, scale)
    assert posterior.mean.isfinite().all()
    # The prior's: E|x - 1/2|^2 = 72 E A^2 = 72 / 12.
    assert (posterior.trace <= 6.01).all()
    if scale > 1:
        torch.testing.assert_close(posterior.trace, torch.full((4,), 6.0).double(), atol=0.01, rtol=0)
        torch.testing.assert_close(posterior.mean, torch.full_like(noisy, 0.5), atol=0.01, rtol=0)


def test_true_basis_is_the_image():
    vectors = RAYS.true_basis("test", 3).vectors
    direction = RAYS.image.flatten().double() / RAYS.image.double().norm()
    assert vectors.shape == (3, 144, 1)
    torch.testing.assert_close((vectors[..., 0] @ direction).abs(), torch.ones(3).double())
    assert RAYS.dimension == 1


def test_true_basis_is_the_plane_of_cosine_and_sine():
    vectors = WAVES.true_basis("test", 5).vectors
    places = 2 * math.pi / 12 * (2 * torch.arange(12).double()[:, None] - torch.arange(12)).flatten()
    plane = torch.stack([places.cos(), places.sin()], dim=1) / 72**0.5
    torch.testing.assert_close(vectors @ vectors.mT, (plane @ plane.T).expand(5, -1, -1), atol=1e-6, rtol=0)


def test_colour_and_files_pass_through(tmp_path):
    file = tmp_path / "colours.npz"
    np.savez(file, images=np.random.default_rng(0).integers(0, 256, (10, 9, 9, 3), dtype=np.uint8))
    rays = construct(Rays, f"faces[path={file},colour=rgb]", index=2)
    assert rays.shape == (3, 9, 9)
    assert rays.images("test", 2).shape == (2, 3, 9, 9)
    noisy = rays.images("test", 2) + 0.1
    assert rays.posterior(noisy, 0.1).mean.shape == noisy.shape
    assert rays.fingerprint() == rays.dataset.fingerprint() is not None
    assert RAYS.fingerprint() is None
