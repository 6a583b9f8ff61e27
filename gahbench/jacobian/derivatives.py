"""Derivatives of references, whose code may or may not be differentiable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gahbench._util.noise import generator
from gahbench.devices.hardware import is_out_of_memory
from gahbench.jacobian.autograd import AutogradMaps

if TYPE_CHECKING:
    from gahbench.contracts.truth import Truth

    Denoise = Callable[[Tensor, float, Truth], Tensor]

#: Random directions in which derivatives are compared with differences, and vectors that they are compared on.
DIRECTIONS = 3
WITNESSES = 16
#: Steps of the differences, in units of sigma.
STEP = 1e-3
SMALLER_STEP = 1e-4
#: How far the derivative may be off, relative to its length.
TOLERANCE = 0.05


def differentiated(denoise: Denoise, noisy: Tensor, sigma: float, truth: Truth) -> AutogradMaps | None:
    """Return the derivatives of a denoiser at noisy images, if its code can be differentiated.

    The result of automatic differentiation is compared, at the first image, with central differences along the image
    itself and in three random directions: code that leaves torch for a part of what depends on the image, such as a
    threshold, has derivatives that lack that part. Of the three the middle one decides, since a denoiser may jump, as
    thresholding does. The result is ``None`` where the code cannot be differentiated, or its derivative is another one.
    """

    def forward(images: Tensor, first: int) -> Tensor:
        one = replace(truth, clean=truth.clean[first : first + len(images)], start=truth.start + first)
        return denoise(images, sigma, one)

    maps = AutogradMaps(forward, noisy, repeatable=False)
    with torch.no_grad():
        # Errors of the denoiser itself are not about its derivatives.
        forward(noisy[:1], 0)
    try:
        return maps if _is_derivative(maps, forward, noisy[:1], sigma) else None
    except (RuntimeError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        # Tensors that require gradients cannot become arrays, and not all operations are differentiable.
        return None


def _is_derivative(maps: AutogradMaps, forward: Callable[[Tensor, int], Tensor], image: Tensor, sigma: float) -> bool:
    """Compare derivatives with differences; a step that meets a jump may be followed by a smaller one that does not."""
    draw = generator("noise", "differences")
    # The first is the image itself: functions of all of it, such as a threshold, change along it.
    along = torch.cat([image, torch.randn(DIRECTIONS, *image.shape[1:], generator=draw).to(image)])
    along *= image[0].numel() ** 0.5 / along.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
    # Jacobians are built from the transposed product: u'J v for several u estimates the length of J v, and its error.
    across = torch.randn(WITNESSES, image.numel(), generator=draw).to(image)
    found = maps.only(0).rmatvec(across[None])[0].double() @ along.flatten(1).double().mT
    for step in (STEP * sigma, SMALLER_STEP * sigma):
        with torch.no_grad():
            ends = [[forward(image + sign * step * one, 0).double().flatten() for one in along] for sign in (1, -1)]
        differences = (torch.stack(ends[0]) - torch.stack(ends[1])) / (2 * step)
        errors = (across.double() @ differences.mT - found).square().mean(0).sqrt()
        errors /= differences.norm(dim=1).clamp_min(1e-12)
        if torch.maximum(errors[0], errors[1:].median()) <= TOLERANCE:
            return True
    return False
