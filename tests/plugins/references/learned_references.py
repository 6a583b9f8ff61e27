"""Noise, and references that are fitted to given images."""

from __future__ import annotations

import torch
from given_images import GivenImages

import gahbench
from gahbench import Reference, TrainingData


def with_noise(clean, sigma, seed=0):
    """Return images with Gaussian noise in the data type of the clean images."""
    return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed), dtype=clean.dtype)


def fitted(reference, training) -> Reference:
    """Return a reference, or a reference by name, fitted to a dataset or to images."""
    result = gahbench.create("reference", reference) if isinstance(reference, str) else reference
    result.fit(TrainingData(GivenImages(training) if isinstance(training, torch.Tensor) else training))
    return result
