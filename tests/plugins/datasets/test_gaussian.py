"""Gaussian families: stationary fields, and Gaussians fitted to faces."""

import math

import numpy as np
import pytest
import torch
from constructing import construct
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench_plugins.datasets.gaussian_faces import GaussianFaces, principal_components
from gahbench_plugins.datasets.gaussian_field import GaussianField, hartley


def moments_of_field(dataset):
    """Return the mean and the covariances of pixels of a sum of random waves with the power law of the field."""
    size, channels = dataset.size, dataset.shape[0]
    along = np.fft.fftfreq(size, 1 / size)
    power = np.array(
        [[max(math.hypot(row, column), 1) ** (-2 * (dataset.alpha + 1)) for column in along] for row in along]
    )
    power *= dataset.std**2 / power.sum()
    indices = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), -1).reshape(-1, 2)
    shifts = indices[:, None] - indices
    covariance = np.zeros(shifts.shape[:2])
    for row, row_power in zip(along, power, strict=True):
        for column, variance in zip(along, row_power, strict=True):
            covariance += variance * np.cos(2 * np.pi / size * (shifts @ np.array([row, column])))
    covariance = torch.from_numpy(np.kron(np.eye(channels), covariance))
    return torch.full((len(covariance),), 0.5).double(), covariance


def moments_of_faces(dataset, share=0.01, contrast=0.6):
    """Return mean and covariance, computed from the formula by numpy."""
    images = dataset.dataset.images("train", dataset.dataset.available("train")).double().flatten(1).numpy()
    covariance = np.cov(images.T, ddof=0)
    even = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    covariance = contrast**2 * ((1 - share) * covariance + share * even)
    return torch.from_numpy(images.mean(0)), torch.from_numpy(covariance)


def build_faces_spec(kind, folder):
    """Return a spec of faces with fewer or more training images than pixels, in colour, or embedded."""
    if kind == "embedded":
        return "faces[size=8]"
    count, shape = {"singular": (40, (8, 8)), "full": (300, (8, 8)), "colour": (40, (8, 8, 3))}[kind]
    images = np.random.default_rng(0).uniform(size=(count, *shape)).cumsum(1).cumsum(2)
    np.savez(folder / "faces.npz", images=(images / images.max()).astype(np.float32))
    colour = "colour=rgb," if kind == "colour" else ""
    return f"faces[path={folder / 'faces.npz'},{colour}near_duplicates=keep]"


FIELDS = {"field": GaussianField(2.0, 8), "odd": GaussianField(0.5, 9), "rgb": GaussianField(1.0, 8, colour="rgb")}


@pytest.fixture(params=[*FIELDS, "singular", "full", "colour", "embedded"])
def known(request, tmp_path):
    """A dataset, and its mean and covariance."""
    if request.param in FIELDS:
        dataset = FIELDS[request.param]
        return dataset, *moments_of_field(dataset)
    dataset = construct(GaussianFaces, build_faces_spec(request.param, tmp_path))
    return dataset, *moments_of_faces(dataset)


def noise(images, sigma, seed=0):
    return sigma * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("sigma", [1e-3, 0.05, 2.0])
def test_posterior_agrees_with_a_dense_solve(known, sigma):
    dataset, mean, covariance = known
    noisy = dataset.images("test", 5).double()
    noisy = noisy + noise(noisy, sigma)
    posterior = dataset.posterior(noisy, sigma)
    gain = torch.linalg.solve(covariance + sigma**2 * torch.eye(len(mean)).double(), covariance)
    torch.testing.assert_close(posterior.mean.flatten(1), mean + (noisy.flatten(1) - mean) @ gain, atol=1e-9, rtol=0)
    assert posterior.mean.shape == noisy.shape
    spread = (covariance - covariance @ gain).trace()
    torch.testing.assert_close(posterior.trace, spread.expand(5), atol=0, rtol=1e-7)


def test_true_basis_diagonalises_the_covariance(known):
    dataset, _, covariance = known
    basis = dataset.true_basis("test", 3)
    vectors, energies = basis.vectors[0].double(), basis.energies[0]
    assert vectors.shape == covariance.shape
    diagonal = vectors.mT @ covariance @ vectors
    torch.testing.assert_close(diagonal, torch.diag(energies), atol=1e-6 * energies.max().item(), rtol=0)
    torch.testing.assert_close(vectors.mT @ vectors, torch.eye(len(vectors)).double(), atol=1e-6, rtol=0)
    assert (energies.diff() <= 1e-15).all()
    assert energies.sum().item() == pytest.approx(covariance.trace().item())


def test_images_have_mean_and_covariance(known):
    dataset, mean, exact = known
    count = 20_000
    images = dataset.draw(torch.Generator().manual_seed(0), count).double().flatten(1)
    variance = exact.diagonal()
    assert ((images.mean(0) - mean) / (variance / count).sqrt()).abs().max() < 5
    centred = images - mean
    # Isserlis: the variance of a product of two Gaussians is v_i v_j + c_ij^2.
    error = ((variance[:, None] * variance + exact.square()) / count).sqrt()
    off = (centred.mT @ centred / count - exact) / error
    assert off.abs().max() < 5.5  # the largest of 37,000 numbers
    assert off.square().mean() == pytest.approx(1, abs=0.5)
    # A fourth moment has a standard error of sqrt(96 / n) = 0.07.
    assert ((centred.square() / variance).square().mean(0) - 3).abs().max() < 0.4


def test_without_an_isotropic_part_images_lie_in_the_span_of_the_faces():
    dataset = construct(GaussianFaces, "faces[size=12]", isotropic=0.0)
    faces = dataset.dataset.images("train", 64).double().flatten(1)
    span = torch.linalg.qr((faces - faces.mean(0)).mT[:, :63]).Q
    images = dataset.images("test", 8).double()
    assert (images.flatten(1) - faces.mean(0)).std() > 0.05
    for result in (images, dataset.posterior(images + noise(images, 1), 1e-3).mean):
        offset = result.flatten(1) - faces.mean(0)
        assert (offset - offset @ span @ span.mT).abs().max() < 1e-6


@pytest.mark.parametrize(("name", "share"), [("field", 4e-4), ("faces", 2.4e-3)])
def test_defaults_rarely_leave_the_unit_interval(name, share):
    dataset = GaussianField(2.0, 32) if name == "field" else construct(GaussianFaces)
    mean, deviation = torch.tensor([0.5]).double(), torch.tensor([0.14]).double()
    if name == "faces":
        assert dataset.shape == (1, 24, 24)
        mean, covariance = moments_of_faces(dataset)
        deviation = covariance.diagonal().sqrt()
    normal = torch.distributions.Normal(mean, deviation)
    tail = (normal.cdf(torch.zeros_like(mean)) + 1 - normal.cdf(torch.ones_like(mean))).mean().item()
    assert tail == pytest.approx(share, rel=0.2)
    images = dataset.images("train", 1024)
    outside = ((images < 0) | (images > 1)).double().flatten(1).mean(1)
    assert outside.mean().item() == pytest.approx(tail, abs=4 * outside.std().item() / 32)


@pytest.mark.parametrize("count", [5, 30])
def test_principal_components_do_not_depend_on_how_they_are_found(count):
    """The algorithm depends on whether there are fewer images than pixels; chunks have no influence."""
    images = torch.rand(count, 12, generator=torch.Generator().manual_seed(0))
    expected = torch.from_numpy(np.cov(images.double().numpy().T, ddof=0))
    for result in (principal_components(images), principal_components(torch.cat([images] * 300))):
        torch.testing.assert_close((result.components * result.variances) @ result.components.mT, expected)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_error_follows_the_slope_within_the_range_of_the_energies(alpha):
    dataset = GaussianField(alpha, 256)
    assert dataset.optimum.slope == pytest.approx(alpha / (alpha + 1))
    energies = dataset.energies
    # Noise levels correspond to frequencies between 4 and 32, far from both ends of the spectrum.
    high, low = (math.sqrt(energies[int(math.pi * k**2)].item()) for k in (4, 32))
    sigmas = np.geomspace(low, high, 5)
    noisy = torch.zeros(1, 1, 256, 256)
    errors = [dataset.posterior(noisy, sigma).trace.item() for sigma in sigmas]
    slope = np.polyfit(np.log(sigmas**2), np.log(errors), 1)[0]
    assert slope == pytest.approx(alpha / (alpha + 1), abs=0.03)


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_hartley_transform_is_its_own_inverse_and_keeps_energy(height, width, seed):
    images = noise(torch.zeros(2, 3, height, width).double(), 1, seed)
    result = hartley(images)
    torch.testing.assert_close(hartley(result), images)
    torch.testing.assert_close(result.square().sum((2, 3)), images.square().sum((2, 3)))
