import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench._util.errors import ParameterError
from gahbench.registry.registry import Registry
from gahbench_plugins.datasets.gaussian_field import GaussianField, hartley


def dense_covariance(dataset):
    """The covariance of two pixels, from the power law, frequency by frequency: that of a sum of random waves."""
    size, channels = dataset.size, dataset.shape[0]
    along = np.fft.fftfreq(size, 1 / size)
    power = np.array(
        [[max(math.hypot(row, column), 1) ** (-2 * (dataset.alpha + 1)) for column in along] for row in along]
    )
    power *= dataset.std**2 / power.sum()
    places = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), -1).reshape(-1, 2)
    shifts = places[:, None] - places
    covariance = np.zeros(shifts.shape[:2])
    for row, of_row in zip(along, power, strict=True):
        for column, variance in zip(along, of_row, strict=True):
            covariance += variance * np.cos(2 * np.pi / size * (shifts @ np.array([row, column])))
    return torch.from_numpy(np.kron(np.eye(channels), covariance))


def noise(images, sigma, seed=0):
    return sigma * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed), dtype=images.dtype)


SMALL = [GaussianField(2.0, 8), GaussianField(0.5, 9), GaussianField(1.0, 8, colour="rgb")]


@pytest.fixture(params=SMALL, ids=lambda dataset: f"{dataset.shape}")
def dataset(request):
    return request.param


@pytest.mark.parametrize("sigma", [1e-3, 0.05, 2.0])
def test_posterior_is_that_of_a_dense_solve(dataset, sigma):
    covariance = dense_covariance(dataset)
    identity = torch.eye(len(covariance), dtype=torch.float64)
    noisy = dataset.images("test", 5)
    noisy = noisy + noise(noisy, sigma)
    posterior = dataset.posterior(noisy, sigma)
    gain = torch.linalg.solve(covariance + sigma**2 * identity, covariance)
    expected = 0.5 + (noisy.double() - 0.5).flatten(1) @ gain
    torch.testing.assert_close(posterior.mean.flatten(1), expected, atol=1e-9, rtol=0)
    spread = covariance - covariance @ gain
    torch.testing.assert_close(posterior.trace, spread.trace().expand(5), atol=0, rtol=1e-7)


def test_true_basis_diagonalises_the_covariance(dataset):
    basis = dataset.true_basis("test", 3)
    vectors, energies = basis.vectors[0].double(), basis.energies[0]
    diagonal = vectors.mT @ dense_covariance(dataset) @ vectors
    torch.testing.assert_close(diagonal, torch.diag(energies), atol=1e-6 * energies.max().item(), rtol=0)
    assert (energies.diff() <= 0).all()
    torch.testing.assert_close(vectors.mT @ vectors, torch.eye(len(vectors)).double(), atol=1e-6, rtol=0)


def test_images_have_the_covariance(dataset):
    count = 20_000
    images = dataset.draw(torch.Generator().manual_seed(0), count).double().flatten(1) - 0.5
    exact = dense_covariance(dataset)
    variance = exact.diagonal()
    # Isserlis: the variance of a product of two Gaussians is v_i v_j + c_ij^2.
    error = ((variance[:, None] * variance + exact.square()) / count).sqrt()
    off = (images.mT @ images / count - exact) / error
    assert off.abs().max() < 5.5  # of 37,000 numbers
    assert off.square().mean() == pytest.approx(1, abs=0.5)
    assert (images.mean(0) / (variance / count).sqrt()).abs().max() < 5


def test_pixels_are_gaussian_with_the_stated_spread_and_rarely_leave_the_unit_interval():
    images = GaussianField(2.0, 32).images("train", 2048).double()
    corner = (images[:, 0, 0, 0] - 0.5) / 0.14
    # Standard errors of variance and kurtosis are sqrt(2 / n) = .031 and sqrt(24 / n) = .108.
    assert corner.square().mean().item() == pytest.approx(1, abs=0.125)
    assert corner.pow(4).mean().item() / corner.square().mean().item() ** 2 == pytest.approx(3, abs=0.44)
    tail = math.erfc(0.5 / 0.14 / math.sqrt(2))
    assert tail == pytest.approx(4e-4, rel=0.2)
    outside = ((images < 0) | (images > 1)).double().flatten(1).mean(1)
    assert outside.mean().item() == pytest.approx(tail, abs=4 * outside.std().item() / 2048**0.5)


@pytest.mark.parametrize("sigma", [0.005, 0.0158, 0.05, 0.158, 0.5])
def test_realised_error_is_the_trace(sigma):
    dataset = GaussianField(1.0, 16)
    clean = dataset.images("test", 2048)
    posterior = dataset.posterior(clean.double() + noise(clean.double(), sigma), sigma)
    realised = (posterior.mean - clean).square().flatten(1).sum(1)
    assert realised.mean().item() == pytest.approx(posterior.trace[0].item(), abs=4 * realised.std().item() / 2048**0.5)
    # The error bar is small enough for the comparison: below 1 %.
    assert realised.std() / 2048**0.5 < 0.01 * realised.mean()


def test_limits_of_the_noise():
    dataset = GaussianField(1.0, 8)
    noisy = dataset.images("test", 4).double()
    little, much = dataset.posterior(noisy, 1e-9), dataset.posterior(noisy, 1e9)
    torch.testing.assert_close(little.mean, noisy, atol=1e-12, rtol=0)
    torch.testing.assert_close(little.trace, torch.full((4,), 64 * 1e-18, dtype=torch.float64), atol=0, rtol=1e-9)
    torch.testing.assert_close(much.mean, torch.full_like(noisy, 0.5), atol=1e-12, rtol=0)
    torch.testing.assert_close(much.trace, torch.full((4,), 64 * 0.14**2, dtype=torch.float64), atol=0, rtol=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_error_follows_the_slope_within_the_range_of_the_energies(alpha):
    dataset = GaussianField(alpha, 256)
    assert dataset.optimum.slope == pytest.approx(alpha / (alpha + 1))
    energies = dataset.energies
    # Between frequencies 4 and 32, far from both ends of the spectrum.
    high, low = (math.sqrt(energies[int(math.pi * k**2)].item()) for k in (4, 32))
    sigmas = np.geomspace(low, high, 5)
    noisy = torch.zeros(1, 1, 256, 256)
    errors = [dataset.posterior(noisy, sigma).trace.item() for sigma in sigmas]
    slope = np.polyfit(np.log(sigmas**2), np.log(errors), 1)[0]
    assert slope == pytest.approx(alpha / (alpha + 1), abs=0.03)


def test_the_filter_commutes_with_shifts_of_the_torus_and_channels_are_apart():
    dataset = GaussianField(1.5, 12, colour="rgb")
    noisy = noise(torch.zeros(2, 3, 12, 12).double(), 1)
    shifted = dataset.posterior(noisy.roll((3, -5), (2, 3)), 0.1).mean
    torch.testing.assert_close(shifted, dataset.posterior(noisy, 0.1).mean.roll((3, -5), (2, 3)))
    grey = GaussianField(1.5, 12).posterior(noisy[:, 1:2], 0.1)
    torch.testing.assert_close(grey.mean, dataset.posterior(noisy, 0.1).mean[:, 1:2])
    torch.testing.assert_close(3 * grey.trace, dataset.posterior(noisy, 0.1).trace)


def test_jacobian_is_symmetric_and_its_trace_is_that_of_the_error():
    dataset, sigma = GaussianField(1.0, 8), 0.1
    noisy = dataset.images("test", 1).double()
    jacobian = torch.autograd.functional.jacobian(lambda y: dataset.posterior(y, sigma).mean.flatten(), noisy)
    jacobian = jacobian.reshape(64, 64)
    torch.testing.assert_close(jacobian, jacobian.mT)
    # Tweedie, to second order (Kadkhodaie 2024, equation 9).
    torch.testing.assert_close(sigma**2 * jacobian.trace(), dataset.posterior(noisy, sigma).trace[0])


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_hartley_transform_is_its_own_inverse_and_keeps_energy(height, width, seed):
    images = noise(torch.zeros(2, 3, height, width).double(), 1, seed)
    found = hartley(images)
    torch.testing.assert_close(hartley(found), images)
    torch.testing.assert_close(found.square().sum((2, 3)), images.square().sum((2, 3)))


def test_hartley_transform_of_an_impulse_is_a_wave():
    impulse = torch.zeros(6, 10, dtype=torch.float64)
    impulse[1, 3] = 1
    angle = 2 * np.pi * (np.arange(6)[:, None] / 6 + 3 * np.arange(10) / 10)
    np.testing.assert_allclose(hartley(impulse).numpy(), (np.cos(angle) + np.sin(angle)) / 60**0.5, atol=1e-12)


def test_same_seed_draws_the_same_noise_for_every_alpha():
    smooth, rough = (GaussianField(alpha, 16).images("test", 64).flatten(1) for alpha in (2.0, 1.0))
    assert torch.corrcoef(torch.cat([smooth, rough]))[:64, 64:].diagonal().median() > 0.9


def test_parameters_are_checked():
    registry = Registry()
    for wrong in ("alpha=0", "size=7", "std=0", "colour=blue", "channels=3"):
        with pytest.raises(ParameterError, match="gaussian-field"):
            registry.configure("dataset", f"gaussian-field[{wrong}]")
    assert registry.configure("dataset", "gaussian-field").label == "gaussian-field[alpha=2]"
