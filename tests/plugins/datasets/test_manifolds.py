"""Manifolds: posteriors against quadrature, tangents, and the images of each family."""

import math

import numpy as np
import pytest
import torch
from constructing import construct

from gahbench._util.errors import OptimumError
from gahbench._util.noise import evaluation_noise
from gahbench_plugins.datasets import _importance as importance
from gahbench_plugins.datasets._intensities import integrate
from gahbench_plugins.datasets._manifold import Manifold
from gahbench_plugins.datasets.discs import Discs, render
from gahbench_plugins.datasets.rays import Rays
from gahbench_plugins.datasets.sinusoids import Sinusoids


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


class Slope(Manifold):
    """A sigmoid of uniform position and uniform height, in which it is linear, on grey."""

    shape = (2, 4, 8)
    nonlinear = 1
    intensities = 1
    offset = 0.25

    def __init__(self, seed: int = 0):
        super().__init__("slope", seed)

    def prior_transform(self, uniform):
        return 1 + 6 * uniform

    def render(self, parameters):
        position, height = parameters.unbind(1)
        edge = torch.sigmoid(torch.arange(8) + 0.5 - position[:, None])
        return (self.offset + 0.7 * height[:, None] * edge)[:, None, None].expand(-1, *self.shape)


class Comb(Manifold):
    """Sinusoids with so many periods over the range of the parameter that no search finds the right period."""

    shape = (1, 4, 4)
    nonlinear = 1

    def __init__(self, seed: int = 0):
        super().__init__("comb", seed)

    def prior_transform(self, uniform):
        return uniform

    def render(self, parameters):
        frequencies = 10.0 ** torch.linspace(3, 9, 16, dtype=parameters.dtype)
        return (0.5 + 0.5 * torch.sin(frequencies * parameters)).reshape(-1, *self.shape)


BUMP, RAYS, WAVES = Bump(), construct(Rays, "discs[size=12]"), Sinusoids(12, rows=2, columns=-1)
sampled = pytest.mark.parametrize("dataset", [BUMP, Slope(), Discs(12)], ids=["bump", "slope", "discs"])


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
@pytest.mark.parametrize(
    "dataset", [BUMP, Slope(), Discs(8), RAYS, WAVES], ids=["bump", "slope", "discs", "rays", "sinusoids"]
)
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


@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0])
def test_sampling_agrees_with_the_exact_posterior(sigma):
    noisy = noisy_images(WAVES, 12, sigma)
    exact, drawn = WAVES.posterior(noisy, sigma), Manifold.posterior(WAVES, noisy, sigma)
    torch.testing.assert_close(drawn.trace, exact.trace, rtol=0.03, atol=0)
    errors = (drawn.mean - exact.mean).double().square().flatten(1).sum(1)
    assert (errors < 1e-3 * exact.trace).all()
    assert drawn.ess_fraction.min() > 0.3


def test_sampled_filters_are_covariances_of_images_drawn_from_the_prior():
    dataset, sigma = Discs(8), 2.0
    noisy = noisy_images(dataset, 2, sigma)
    drawn = dataset.draw(torch.Generator().manual_seed(5), 20_000).double().flatten(1)
    matrices = dataset.optimal_filters(noisy, sigma, "test").matrices()
    for image, matrix in zip(noisy.double().flatten(1), matrices.double(), strict=True):
        weights = torch.softmax(-(image - drawn).square().sum(1) / (2 * sigma**2), 0)
        effective = float(1 / weights.square().sum())
        mean = weights @ drawn
        expected = (drawn.mT @ (weights[:, None] * drawn) - torch.outer(mean, mean)) / sigma**2
        assert effective > 1000
        assert (matrix - expected).norm() < 4 * expected.norm() / effective**0.5


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
    comb = Comb()
    with pytest.raises(OptimumError, match=r"sigma=0\.001.* sigma per pixel from a noisy image"):
        comb.posterior(noisy_images(comb, 2, 1e-3), 1e-3)
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
def test_tangent_is_the_finite_difference_and_true_basis_spans_it(dataset):
    parameters = dataset.parameters("test", 5).double()
    tangent = dataset.tangent(parameters)
    step = 1e-5
    for axis in range(dataset.dimension):
        moved = torch.zeros(dataset.dimension, dtype=torch.float64)
        moved[axis] = step
        ahead, behind = (dataset.render(parameters + sign * moved).flatten(1) for sign in (1, -1))
        torch.testing.assert_close(tangent[..., axis], (ahead - behind) / (2 * step), atol=1e-7, rtol=1e-5)
    vectors = dataset.true_basis("test", 5).vectors
    identity = torch.eye(dataset.dimension, dtype=torch.float64).expand(5, -1, -1)
    torch.testing.assert_close(vectors.mT @ vectors, identity, atol=1e-10, rtol=0)
    # Parameters are rounded to float32.
    torch.testing.assert_close(vectors @ (vectors.mT @ tangent), tangent, atol=1e-4, rtol=1e-4)
    # The first vectors change most, in units of the spread of each parameter.
    uniform = torch.rand(5, dataset.dimension, generator=dataset.generator_of("test", 0)).double()
    step = 1e-6 * torch.eye(dataset.dimension).double()
    ahead, behind = (
        dataset.render(dataset.parameters_at((uniform[:, None] + sign * step).flatten(0, 1))) for sign in (1, -1)
    )
    changes = ((ahead - behind).reshape(5, dataset.dimension, -1) @ vectors).norm(dim=1)
    assert (changes.diff() <= 1e-4 * changes.max()).all()


@sampled
def test_parameters_reproduce_the_images(dataset):
    parameters = dataset.parameters("validation", 10, start=60)
    images = dataset.images("validation", 10, start=60)
    torch.testing.assert_close(dataset.render(parameters), images, atol=1e-6, rtol=0)
    assert dataset.parameters("validation", 0).shape == (0, dataset.dimension)
    assert dataset.true_basis("validation", 0).vectors.shape == (0, images[0].numel(), dataset.dimension)


@sampled
def test_parts_add_up_to_the_image(dataset):
    parameters = dataset.parameters("test", 4).double()
    nonlinear, intensities = parameters[:, : dataset.nonlinear], parameters[:, dataset.nonlinear :]
    weights = intensities if dataset.intensities else torch.ones(4, 1).double()
    image = dataset.offset + torch.einsum("nl,nlchw->nchw", weights, dataset.parts(nonlinear))
    torch.testing.assert_close(image, dataset.render(parameters), atol=1e-12, rtol=0)
    default = Manifold.parts(dataset, nonlinear)
    torch.testing.assert_close(dataset.parts(nonlinear), default, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("nonlinear", "intensities"), [(1, 3), (0, 0)])
def test_families_have_one_or_two_intensities_at_most(nonlinear, intensities):
    wrong = type("Wrong", (Slope,), {"nonlinear": nonlinear, "intensities": intensities})
    with pytest.raises(ValueError, match="at most 2 intensities"):
        wrong()


def test_rays_are_scales_of_a_single_image():
    images = RAYS.images("train", 2000).flatten(1).double()
    scales = images @ RAYS.image.flatten().double() / RAYS.image.double().square().sum()
    torch.testing.assert_close(scales[:, None] * RAYS.image.flatten(), images, atol=1e-6, rtol=0)
    # Kolmogorov-Smirnov, beyond the 1e-4 quantile.
    assert (scales.sort().values - torch.linspace(0, 1, 2000)).abs().max() < 2.2 / 2000**0.5


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
    parameters = Discs(32).draw_parameters(torch.Generator().manual_seed(0), 2000)
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
    assert render(theta, 32).sum().item() == pytest.approx(math.pi * (9.4**2 + 0.25), rel=1e-4)


def test_edge_is_a_pixel_wide_around_the_exact_area():
    theta = Discs(32).draw_parameters(torch.Generator().manual_seed(0), 50).double()
    theta[:, 3], theta[:, 4] = 1, 0
    images = render(theta, 32)[:, 0].numpy()
    indices = (np.arange(32) + 0.5)[None]
    row, column, radius = theta[:, :3].numpy().T
    distance = np.hypot(indices[..., None] - row[:, None, None], indices[:, None] - column[:, None, None])
    away = np.abs(distance - radius[:, None, None])
    exact = distance < radius[:, None, None]
    assert np.abs(images - exact)[away > 1.5].max() < 2e-3
    assert np.abs(images - 0.5)[away < 0.01].max() < 0.01


def test_discs_have_a_tangent_at_the_centre_of_a_pixel_too():
    tangent = Discs(16).tangent(torch.tensor([[7.5, 7.5, 4.0, 0.2, 0.9]]))[0]
    assert torch.linalg.matrix_rank(tangent) == 5
    assert tangent.isfinite().all()
