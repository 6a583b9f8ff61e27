"""Manifolds: integrals over intensities, proposals, posteriors against quadrature, and the images of each family."""

import math

import numpy as np
import pytest
import torch
from constructing import construct
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear
from scipy.stats import multivariate_normal, multivariate_t

from gahbench._util.errors import OptimumError
from gahbench._util.noise import evaluation_noise
from gahbench_plugins.datasets import importance
from gahbench_plugins.datasets.discs import Discs
from gahbench_plugins.datasets.importance import DEFENSIVE_WEIGHT, DEGREES_OF_FREEDOM, Mixture
from gahbench_plugins.datasets.intensities import integrate, peak
from gahbench_plugins.datasets.manifold import Manifold, Rays
from gahbench_plugins.datasets.sinusoids import Sinusoids


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


class Bump(Manifold):
    """A Gaussian bump of uniform position and log-normal width: both parameters are non-linear."""

    shape = (1, 6, 8)
    nonlinear = 2

    def __init__(self, seed: int = 0):
        super().__init__("bump", seed)

    def prior_transform(self, uniform):
        return torch.stack([1 + 6 * uniform[:, 0], torch.exp(0.5 + 0.3 * torch.special.ndtri(uniform[:, 1]))], dim=1)

    def render(self, parameters):
        column, width = parameters.unbind(1)
        bump = torch.exp(-((torch.arange(8) + 0.5 - column[:, None]) / width[:, None]).square() / 2)
        return bump[:, None, None].expand(-1, *self.shape)


BUMP, RAYS, WAVES = Bump(), construct(Rays, "discs[size=12]"), Sinusoids(12, rows=2, columns=-1)
sampled = pytest.mark.parametrize("dataset", [BUMP, Discs(12)], ids=["bump", "discs"])


def noisy_images(dataset, count, sigma):
    return dataset.images("test", count) + evaluation_noise(count, dataset.shape, sigma, "tests")


def quadrature(dataset, noisy, sigma):
    """Return mean and trace of a posterior by quadrature over the non-linear parameters, refined around the mass."""
    low, high = torch.zeros(dataset.nonlinear).double(), torch.ones(dataset.nonlinear).double()
    count = {0: 1, 1: 4000, 2: 100, 3: 16}[dataset.nonlinear]
    for _ in range(4):
        step = (high - low) / count
        points = torch.zeros(1, 0).double()
        if dataset.nonlinear:
            axes = (low[:, None] + step[:, None] * (torch.arange(count) + 0.5)).unbind()
            points = torch.cartesian_prod(*axes).reshape(-1, dataset.nonlinear)
        parts = dataset.parts(dataset.prior_transform(points)).flatten(2)
        gram = parts @ parts.mT
        result = integrate(gram, parts @ (noisy.double().flatten() - dataset.offset), sigma, dataset.intensities)
        weights = torch.softmax(result.log_evidence, 0)
        likely = points[weights > 1e-9 * weights.max()]
        low, high = (likely.amin(0) - 1.5 * step).clamp(min=0), (likely.amax(0) + 1.5 * step).clamp(max=1)
    mean = weights @ (result.mean[:, None] @ parts)[:, 0]
    trace = weights @ (result.second * gram).sum((1, 2)) - mean.square().sum()
    return mean + dataset.offset, float(trace)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("dataset", [BUMP, Discs(8), RAYS, WAVES], ids=["bump", "discs", "rays", "sinusoids"])
def test_posteriors_agree_with_quadrature(dataset, sigma):
    noisy = noisy_images(dataset, 3, sigma)
    posterior = dataset.posterior(noisy, sigma)
    is_exact = dataset in (RAYS, WAVES)
    assert (posterior.ess_fraction is None) == is_exact
    assert is_exact or posterior.ess_fraction.min() > 0.3
    for image, mean, trace in zip(noisy, posterior.mean.double().flatten(1), posterior.trace, strict=True):
        expected, spread = quadrature(dataset, image, sigma)
        assert float(trace) == pytest.approx(spread, rel=1e-3 if is_exact else 0.03)
        # The inaccuracy of the posterior adds at most 1/1,000 to the squared error of the mean.
        assert (mean - expected).square().sum() < (1e-6 if is_exact else 1e-3) * spread + 1e-10


def test_images_with_few_effective_samples_get_more_draws(monkeypatch):
    # More effective draws are wanted than are drawn at first, so draws are doubled for every image.
    noisy = noisy_images(BUMP, 3, 0.1)
    monkeypatch.setattr(importance, "DRAWS", 256)
    monkeypatch.setattr(importance, "WANTED", 257.0)
    posterior = BUMP.posterior(noisy, 0.1)
    assert (posterior.ess_fraction <= 1).all()
    assert (posterior.ess_fraction > 257 / 2048).all()
    for image, mean, trace in zip(noisy, posterior.mean.flatten(1), posterior.trace, strict=True):
        expected, spread = quadrature(BUMP, image, 0.1)
        assert float(trace) == pytest.approx(spread, rel=0.1)
        assert (mean - expected).abs().max() < 0.01


def test_posteriors_that_cannot_be_sampled_are_refused(monkeypatch):
    # Images of another family are refused if noise does not explain the difference.
    checkers = (torch.arange(8) % 2).float().expand(1, *BUMP.shape)
    with pytest.raises(OptimumError, match="images of this family"):
        BUMP.posterior(checkers, 0.1)
    assert BUMP.posterior(checkers, 1.0).mean.isfinite().all()
    for limit in ("WANTED", "REFUSED"):
        monkeypatch.setattr(importance, limit, 1e6)
    with pytest.raises(OptimumError, match=r"sigma=0\.1.* effective samples of 32768; accepted: at least 1e\+06"):
        BUMP.posterior(noisy_images(BUMP, 2, 0.1), 0.1)


@sampled
def test_the_true_basis_spans_finite_differences_the_largest_first(dataset):
    vectors = dataset.true_basis("test", 5).vectors
    identity = torch.eye(dataset.dimension, dtype=torch.float64).expand(5, -1, -1)
    torch.testing.assert_close(vectors.mT @ vectors, identity, atol=1e-10, rtol=0)
    uniform = torch.rand(5, dataset.dimension, generator=dataset.generator_of("test", 0)).double()
    step = 1e-6 * torch.eye(dataset.dimension).double()
    ahead, behind = (
        dataset.render(dataset.parameters_at((uniform[:, None] + sign * step).flatten(0, 1))) for sign in (1, -1)
    )
    changes = (ahead - behind).reshape(5, dataset.dimension, -1) / 2e-6
    torch.testing.assert_close(changes @ vectors @ vectors.mT, changes, atol=1e-5, rtol=1e-4)
    sizes = (changes @ vectors).norm(dim=1)
    assert (sizes.diff() <= 1e-4 * sizes.max()).all()


def test_families_have_one_or_two_intensities_at_most():
    wrong = type("Wrong", (Bump,), {"intensities": 3})
    with pytest.raises(ValueError, match="3 intensities; accepted: at most 2 intensities"):
        wrong()


@sampled
def test_parameters_reproduce_the_images(dataset):
    parameters = dataset.parameters("validation", 10, start=60)
    images = dataset.images("validation", 10, start=60)
    torch.testing.assert_close(dataset.render(parameters), images, atol=1e-6, rtol=0)
    assert dataset.parameters("validation", 0).shape == (0, dataset.dimension)
    assert dataset.true_basis("validation", 0).vectors.shape == (0, images[0].numel(), dataset.dimension)


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


def test_discs_stay_inside_and_their_parameters_in_range():
    parameters = Discs(32).parameters("train", 2000)
    centre, radius, greys = parameters[:, :2], parameters[:, 2:3], parameters[:, 3:]
    assert radius.min() >= 3.2
    assert radius.max() <= 12.8
    assert (centre - radius >= 0.5 - 1e-4).all()
    assert (centre + radius <= 31.5 + 1e-4).all()
    assert ((greys.amin(0) >= 0) & (greys.amin(0) < 0.01)).all()
    assert ((greys.amax(0) <= 1) & (greys.amax(0) > 0.99)).all()


def test_the_mass_of_a_disc_is_the_mass_of_a_blurred_disc():
    # A radial profile Phi((r - d) / s) integrates to pi (r^2 + s^2); a smooth image sums to its integral.
    theta = torch.tensor([[15.3, 16.8, 9.4, 1.0, 0.0]], dtype=torch.float64)
    assert Discs(32).render(theta).sum().item() == pytest.approx(math.pi * (9.4**2 + 0.25), rel=1e-4)
