"""Random images, noise, and references that are fitted to given images."""

from __future__ import annotations

import torch
from given_images import GivenImages

import gahbench
from gahbench import Reference, TrainingData, Truth


def random(*shape, seed=0):
    """Return random numbers, float64."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_noise(clean, sigma, seed=0):
    """Return images with Gaussian noise, of the type of the clean ones."""
    return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed), dtype=clean.dtype)


def fitted(reference, training) -> Reference:
    """Return a reference, or that of a name, fitted to images."""
    found = gahbench.create("reference", reference) if isinstance(reference, str) else reference
    found.fit(TrainingData(GivenImages(training)))
    return found


def memory(training, noisy, sigma):
    """Return noisy images denoised by perfect memorization of the training images."""
    return fitted("empirical-bayes", training).denoise(noisy, sigma, Truth(noisy))


def assert_jacobian_is_derivative(reference, noisy, sigma):
    """Compare the Jacobian at each image with central differences, and see that there is none without noise."""
    size, shape = noisy[0].numel(), noisy.shape[1:]
    steps = 1e-5 * torch.eye(size, dtype=torch.float64).view(size, *shape)
    for image, matrix in zip(noisy, reference.jacobian(noisy, sigma, Truth(noisy)).matrices(), strict=True):
        ends = [reference.denoise(image + sign * steps, sigma, Truth(steps)).flatten(1) for sign in (1, -1)]
        torch.testing.assert_close(matrix, (ends[0] - ends[1]).mT / 2e-5, atol=1e-6, rtol=1e-6)
    assert reference.jacobian(noisy, 0.0, Truth(noisy)) is None
