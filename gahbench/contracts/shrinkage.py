"""Oracle shrinkage in any basis."""

from __future__ import annotations

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


def shrunk(basis: Basis, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
    """Return images whose coefficients in a basis are multiplied by the oracle's weights.

    Parameters
    ----------
    basis
        A basis that is adapted to images is adapted to the clean ones.
    noisy
        Shape (N, C, H, W).
    """
    shape = image_shape(noisy)
    parts = list(basis.parts(truth))
    denoised = []
    for part, noisy_part in zip(parts, torch.split(noisy, [len(part) for part in parts]), strict=True):
        adapted = basis.adapt_to(part, sigma)
        levels = sigma * adapted.noise_levels(shape).to(noisy)
        weights = oracle_weights(adapted.analysis(part.clean), levels)
        denoised.append(adapted.synthesis(adapted.analysis(noisy_part) * weights))
    return torch.cat(denoised)


def oracle_filters(basis: Basis, truth: Truth, sigma: float) -> LinearMaps:
    """Return the linear denoisers of :func:`shrunk`, one for each image."""
    from dataclasses import replace

    from gahbench.jacobian import AutogradMaps

    def forward(images: Tensor, first: int) -> Tensor:
        one = replace(truth, clean=truth.clean[first : first + len(images)], start=truth.start + first)
        return shrunk(basis, images, sigma, one)

    return AutogradMaps(forward, truth.clean, repeatable=False)
