"""Oracles: coefficients in any basis, multiplied by weights that the clean ones decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gahbench._util.shapes import image_shape
from gahbench.contracts.bases import Basis
from gahbench.contracts.truth import Truth

if TYPE_CHECKING:
    from gahbench.jacobian import LinearMaps


def oracle_weights(clean: Tensor, levels: Tensor) -> Tensor:
    """Return the weights c^2 / (c^2 + level^2) of coefficients; without noise every weight is 1.

    Parameters
    ----------
    clean
        Coefficients c of clean images.
    levels
        Standard deviations of their noise, broadcastable.
    """
    energy, power = clean.square(), levels.square()
    return torch.where(power > 0, energy / (energy + power).clamp(min=torch.finfo(clean.dtype).tiny), 1.0)


def oracle_denoise(
    basis: Basis,
    noisy: Tensor,
    sigma: float,
    truth: Truth,
    weights: Callable[[Tensor, Tensor], Tensor] = oracle_weights,
) -> Tensor:
    """Return the images that an oracle denoises by multiplying their coefficients in a basis, shape (N, C, H, W).

    Parameters
    ----------
    basis
        The basis; one that is adapted to images is adapted to the clean ones.
    noisy
        Shape (N, C, H, W).
    sigma
        Standard deviation of the noise.
    truth
        The clean images.
    weights
        Returns the weights of coefficients, given the clean ones and the standard deviations of their noise,
        broadcastable; by default those of least expected error in an orthonormal basis.
    """
    shape = image_shape(noisy)
    parts = list(basis.parts(truth))
    denoised = []
    for part, noisy_part in zip(parts, torch.split(noisy, [len(part) for part in parts]), strict=True):
        adapted = basis.adapt_to(part, sigma)
        levels = sigma * adapted.noise_levels(shape).to(noisy)
        kept = weights(adapted.analysis(part.clean), levels)
        denoised.append(adapted.synthesis(adapted.analysis(noisy_part) * kept))
    return torch.cat(denoised)


def oracle_filters(basis: Basis, truth: Truth, sigma: float) -> LinearMaps:
    """Return the linear denoisers of :func:`oracle_denoise` with its default weights, one for each image."""
    from dataclasses import replace

    from gahbench.jacobian import AutogradMaps

    def forward(images: Tensor, first: int) -> Tensor:
        one = replace(truth, clean=truth.clean[first : first + len(images)], start=truth.start + first)
        return oracle_denoise(basis, images, sigma, one)

    return AutogradMaps(forward, truth.clean, repeatable=False)
