"""Importance sampling on manifolds: integrals over intensities, and proposals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear
from scipy.stats import multivariate_normal, multivariate_t, truncnorm

from gahbench_plugins.datasets._importance import DEFENSIVE_WEIGHT, DEGREES_OF_FREEDOM, Draws, Mixture
from gahbench_plugins.datasets._intensities import integrate, peak, truncated_normal


def problem(seed, intensities, sigma, alike=3.0, pixels=12):
    """Return parts and noisy data; intensities are often 0 or 1, where the prior truncates much of the density."""
    rng = np.random.default_rng(seed)
    parts = rng.uniform(0, 1, (intensities, pixels))
    parts[-1] += rng.uniform(0, alike) * parts[0]
    noise = rng.uniform(0, 3) * sigma * rng.standard_normal(pixels)
    return parts, rng.uniform(-0.3, 1.3, intensities).clip(0, 1) @ parts + noise


def graded(count):
    """Return nodes in [0, 1], crowded at both ends, and weights that integrate over it."""
    angles = np.pi * (np.arange(count) + 0.5) / count
    return (1 - np.cos(angles)) / 2, np.pi / 2 * np.sin(angles) / count


def statistics(parts, data):
    return torch.from_numpy(parts @ parts.T), torch.from_numpy(parts @ data)


@settings(deadline=None, max_examples=60)
@given(mean=st.floats(-5, 6), std=st.floats(0.01, 20))
def test_truncated_normal_agrees_with_scipy(mean, std):
    if max(-mean, mean - 1) > 30 * std:
        return
    low, high = -mean / std, (1 - mean) / std
    law = truncnorm(low, high, loc=mean, scale=std)
    log_mass, centre, square = truncated_normal(
        torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    )
    indices = (np.arange(200_000) + 0.5) / 200_000
    exponents = -((indices - mean) ** 2) / (2 * std**2)
    total = exponents.max() + np.log(np.exp(exponents - exponents.max()).mean() / (std * np.sqrt(2 * np.pi)))
    # Twenty standard deviations outside, the logarithm of the tail is -200, and torch's error is up to 1.4e-4.
    assert log_mass.item() == pytest.approx(total, abs=5e-4)
    assert centre.item() == pytest.approx(law.mean(), abs=1e-6)
    assert square.item() == pytest.approx(law.mean() ** 2 + law.var(), abs=1e-6)


def test_truncated_normal_far_in_the_tail_is_exponential():
    # 1,000 standard deviations of 0.1 outside, the density at the border falls by a factor e within 0.1 / 1,000.
    log_mass, centre, _ = truncated_normal(torch.tensor([-100.0, 101.0]).double(), torch.tensor(0.1).double())
    assert log_mass.isfinite().all()
    torch.testing.assert_close(centre, torch.tensor([1e-4, 1 - 1e-4]).double(), atol=1e-7, rtol=0)


@pytest.mark.parametrize(("intensities", "nodes", "tolerance"), [(1, 20_000, 1e-5), (2, 900, 2e-3)])
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), sigma=st.sampled_from([0.03, 0.1, 0.5, 3.0]), alike=st.sampled_from([0.0, 0.3, 3.0]))
def test_moments_agree_with_a_fine_grid(intensities, nodes, tolerance, seed, sigma, alike):
    """The hardest cases are parts of correlation 0.99 whose density a border truncates obliquely."""
    parts, data = problem(seed, intensities, sigma, alike)
    result = integrate(*statistics(parts, data), sigma, intensities)
    indices, widths = graded(nodes)
    grid = np.stack(np.meshgrid(*[indices] * intensities, indexing="ij"), -1).reshape(-1, intensities)
    volumes = np.prod(np.meshgrid(*[widths] * intensities, indexing="ij"), axis=0).ravel()
    exponents = -(((grid @ (parts @ parts.T)) * grid).sum(1) - 2 * grid @ (parts @ data)) / (2 * sigma**2)
    weights = volumes * np.exp(exponents - exponents.max())
    assert result.log_evidence.item() == pytest.approx(exponents.max() + np.log(weights.sum()), abs=tolerance)
    weights /= weights.sum()
    mean = weights @ grid
    second = (weights[:, None] * grid).T @ grid
    std = np.sqrt(np.diag(second) - mean**2)
    assert (np.abs(result.mean.numpy() - mean) < tolerance * std).all()
    covariance = result.second.numpy() - np.outer(result.mean, result.mean)
    # The largest error that was seen is .0065 of the variances, for two nearly equal parts at the corner.
    assert (np.abs(covariance - second + np.outer(mean, mean)) < 4 * tolerance * np.outer(std, std)).all()


@pytest.mark.parametrize("intensities", [1, 2])
def test_weak_noise_leaves_a_gaussian_around_the_best_intensities(intensities):
    # Far inside the square the border has no influence, and the model is linear.
    parts, _ = problem(1, intensities, 0.1)
    data = np.full(intensities, 0.4) @ parts
    gram, product = statistics(parts, data)
    result = integrate(gram, product, 1e-3, intensities)
    np.testing.assert_allclose(result.mean.numpy(), 0.4, atol=1e-6)
    covariance = result.second - result.mean[:, None] * result.mean
    torch.testing.assert_close(covariance, 1e-6 * torch.linalg.inv(gram), rtol=1e-3, atol=0)


@pytest.mark.parametrize("intensities", [1, 2])
def test_parts_of_no_energy_leave_the_prior(intensities):
    # The posterior is uniform in [0, 1]: mean 1/2, mean square 1/3, evidence 1.
    zero = torch.zeros(intensities, intensities, dtype=torch.float64)
    result = integrate(zero, zero[0], 0.1, intensities)
    assert result.log_evidence.item() == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(result.mean.numpy(), 0.5, atol=1e-5)
    np.testing.assert_allclose(np.diag(result.second.numpy()), 1 / 3, atol=1e-5)


def test_without_intensities_the_evidence_is_the_likelihood():
    parts, data = problem(3, 1, 0.2)
    result = integrate(*statistics(parts, data), 0.2, 0)
    expected = (np.square(data) - np.square(data - parts[0])).sum() / (2 * 0.2**2)
    assert result.log_evidence.item() == pytest.approx(expected, rel=1e-5)
    assert result.mean.item() == result.second.item() == 1


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), intensities=st.sampled_from([1, 2]))
def test_peak_is_bounded_least_squares(seed, intensities):
    parts, data = problem(seed, intensities, 0.3)
    expected = lsq_linear(parts.T, data, bounds=(0, 1), tol=1e-12)
    result = peak(*statistics(parts, data), intensities)
    # Costs are compared, as nearly equal parts may be exchanged at the same cost.
    assert np.square(data - result.numpy() @ parts).sum() / 2 == pytest.approx(expected.cost, rel=1e-5, abs=1e-8)
    assert (result >= 0).all()
    assert (result <= 1).all()


def mixture():
    """Return mixtures for two images, of two components in two dimensions."""
    covariances = torch.tensor([[[0.04, 0.02], [0.02, 0.09]], [[0.5, -0.1], [-0.1, 0.2]]]).double()
    return Mixture(
        torch.tensor([[0.7, 0.3], [0.1, 0.9]]).double(),
        torch.tensor([[[0.5, -1.0], [1.0, 1.0]], [[0.0, 0.2], [-1.0, 2.0]]]).double(),
        torch.stack([covariances, covariances.flip(0)]),
    )


def test_log_density_agrees_with_scipy():
    proposal = mixture()
    points = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = proposal.log_density(points).exp().numpy()
    for image in range(2):
        expected = DEFENSIVE_WEIGHT * multivariate_normal([0, 0], np.eye(2)).pdf(points[image])
        for weight, mean, covariance in zip(
            proposal.weights[image], proposal.means[image], proposal.covariances[image], strict=True
        ):
            student = multivariate_t(mean.numpy(), covariance.numpy(), df=DEGREES_OF_FREEDOM)
            expected = expected + (1 - DEFENSIVE_WEIGHT) * weight.item() * student.pdf(points[image])
        np.testing.assert_allclose(result[image], expected, rtol=1e-10)


def test_samples_have_the_moments_of_the_density():
    proposal = mixture()
    points = proposal.sample(Draws.named("test", 2**14, 2))
    shares = (1 - DEFENSIVE_WEIGHT) * proposal.weights
    mean = (shares[..., None] * proposal.means).sum(1)
    torch.testing.assert_close(points.mean(1), mean, atol=5e-3, rtol=0)
    inner = (
        DEGREES_OF_FREEDOM / (DEGREES_OF_FREEDOM - 2) * proposal.covariances
        + proposal.means[..., None] * proposal.means[..., None, :]
    )
    second = (shares[..., None, None] * inner).sum(1) + DEFENSIVE_WEIGHT * torch.eye(2)
    torch.testing.assert_close(points.mT @ points / 2**14, second, atol=2e-2, rtol=0)


def test_fitting_proposals_makes_weights_more_equal():
    proposal = mixture()
    law = multivariate_normal([1.5, -0.5], [[0.02, 0.0], [0.0, 0.3]])
    efficiency = []
    for number in range(6):
        points = proposal.sample(Draws.named(f"test {number}", 1024, 2))
        weights = torch.from_numpy(law.pdf(points.numpy())) / proposal.log_density(points).exp()
        shares = weights / weights.sum(1, keepdim=True)
        efficiency.append((1 / shares.square().sum(1) / 1024).min().item())
        proposal = proposal.update(points, shares)
    assert efficiency[0] < 0.2
    # A Student distribution of the target's covariance would have about 0.9.
    assert efficiency[-1] > 0.75


def test_components_without_samples_do_not_change():
    proposal = mixture()
    points = proposal.means[:, :1].expand(-1, 100, -1) + 0.01 * torch.randn(
        2, 100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    updated = proposal.update(points, torch.full((2, 100), 0.01).double())
    assert torch.linalg.eigvalsh(updated.covariances).min() > 0
    torch.testing.assert_close(updated.weights.sum(1), torch.ones(2).double())
    assert (updated.weights > 0).all()
    assert (updated.means[:, 1] - proposal.means[:, 1]).abs().max() < 0.5


def test_draws_are_reproducible_and_have_accurate_moments():
    draws = Draws.named("test", 4096, 3)
    assert torch.equal(draws.normal, Draws.named("test", 4096, 3).normal)
    assert not torch.equal(draws.normal, Draws.named("other", 4096, 3).normal)
    # Independent draws would miss by 1 / sqrt(4096) = 0.016.
    assert draws.normal.mean(0).abs().max() < 2e-3
    assert draws.component.mean().item() == pytest.approx(0.5, abs=1e-3)
    # E of DEGREES_OF_FREEDOM / chi^2 is DEGREES_OF_FREEDOM / (DEGREES_OF_FREEDOM - 2).
    assert draws.scale.square().mean().item() == pytest.approx(DEGREES_OF_FREEDOM / (DEGREES_OF_FREEDOM - 2), rel=0.03)
    assert math.isfinite(draws.normal.abs().max())
