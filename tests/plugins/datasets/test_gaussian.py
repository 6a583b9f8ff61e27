"""Gaussian families: stationary fields, and Gaussians fitted to faces."""

import math

import numpy as np
import pytest
import torch
from constructing import construct

from gahbench_plugins.datasets.gaussian import GaussianFaces, GaussianField


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
    """Return a spec of faces with fewer or more images than pixels or than a chunk, in colour, or embedded."""
    if kind == "embedded":
        return "faces[size=8]"
    count, shape = {"singular": (40, (8, 8)), "full": (2000, (8, 8)), "colour": (40, (8, 8, 3))}[kind]
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


@pytest.mark.parametrize("known", ["rgb", "embedded"], indirect=True)
def test_images_have_mean_and_covariance(known):
    dataset, mean, exact = known
    count = 10_000
    images = dataset.draw(torch.Generator().manual_seed(0), count).double().flatten(1)
    variance = exact.diagonal()
    assert ((images.mean(0) - mean) / (variance / count).sqrt()).abs().max() < 5
    centred = images - mean
    # Isserlis: the variance of a product of two Gaussians is v_i v_j + c_ij^2.
    off = (centred.mT @ centred / count - exact) / ((variance[:, None] * variance + exact.square()) / count).sqrt()
    assert off.abs().max() < 5.5  # the largest of 37,000 numbers
    assert off.square().mean() == pytest.approx(1, abs=0.5)


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
