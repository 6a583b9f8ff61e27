"""Derivatives of references, whose code may or may not be differentiable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gahbench.contracts import Truth
from gahbench.jacobian.autograd import AutogradMaps
from gahbench.noise import generator

#: Directions in which derivatives are compared with differences, and the step in units of sigma.
DIRECTIONS = 3
STEP = 1e-3
#: How far the middle one of their relative differences may be off.
TOLERANCE = 0.05

Denoise = Callable[[Tensor, float, Truth], Tensor]


def differentiated(denoise: Denoise, noisy: Tensor, sigma: float, truth: Truth) -> AutogradMaps | None:
    """Return the derivatives of a denoiser at noisy images, if its code can be differentiated.

    What automatic differentiation gives is compared, at the first image, with central differences in three random
    directions: code that leaves torch for a part of what depends on the image, such as a threshold, has derivatives
    that lack that part. The middle one of the three decides, since a denoiser may jump, as thresholding does.

    Parameters
    ----------
    denoise
        The denoiser: of noisy images, sigma, and the truth of these images.
    noisy
        Shape (N, C, H, W).
    sigma
        Standard deviation of the noise.
    truth
        What the images were made from.

    Returns
    -------
    AutogradMaps or None
        ``None`` where the code cannot be differentiated, or its derivative is not that of the denoiser.
    """

    def forward(images: Tensor, first: int) -> Tensor:
        one = replace(truth, clean=truth.clean[first : first + len(images)], start=truth.start + first)
        return denoise(images, sigma, one)

    maps = AutogradMaps(forward, noisy, repeatable=False)
    try:
        return maps if _is_derivative(maps, forward, noisy[:1], sigma) else None
    except (RuntimeError, TypeError):
        # Tensors that require gradients cannot become arrays, and not all operations are differentiable.
        return None


def _is_derivative(maps: AutogradMaps, forward: Callable[[Tensor, int], Tensor], image: Tensor, sigma: float) -> bool:
    """Compare u'J v with differences for random u and v: the transposed product is what Jacobians are made of."""
    shape = (DIRECTIONS, *image.shape)
    draw = generator("noise", "differences")
    # In units in which a direction moves every pixel by about sigma.
    along = torch.randn(shape, generator=draw).to(image)
    across = torch.randn(shape, generator=draw).to(image)
    step = STEP * sigma
    with torch.no_grad():
        differences = torch.stack(
            [(forward(image + step * one, 0).double() - forward(image - step * one, 0)) / (2 * step) for one in along]
        )
    measured = (differences * across).flatten(1).sum(1)
    found = (maps.only(0).transposed_product(across.reshape(1, DIRECTIONS, -1))[0] * along.flatten(1)).double().sum(1)
    # A derivative that is off by a share of its length makes these products off by about that share.
    errors = (measured - found).abs() / differences.flatten(1).norm(dim=1).clamp_min(1e-12)
    return bool(errors.median() <= TOLERANCE)
