"""Automatic derivatives of reference denoisers, checked against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gahbench._util.noise import generator
from gahbench.devices.hardware import is_out_of_memory
from gahbench.jacobian.autograd import AutogradMaps

#: Number of random directions in which derivatives are checked, and of random vectors that measure the error.
DIRECTIONS = 3
ERROR_PROBES = 16
#: Step sizes of the finite differences, in units of sigma.
STEP = 1e-3
SMALLER_STEP = 1e-4
#: Maximum error of a derivative, relative to its norm.
TOLERANCE = 0.05


def autograd_jacobians(forward: Callable[[Tensor, int], Tensor], noisy: Tensor, sigma: float) -> AutogradMaps | None:
    """Return the Jacobians of a denoiser at noisy images, or ``None`` if its code cannot be differentiated correctly.

    ``forward`` denoises images, given the index of the first among the noisy images.

    Automatic differentiation is checked at the first image against central differences, along the image itself and in
    three random directions. If a denoiser computes part of its result outside torch, such as a threshold that depends
    on the image, its derivative lacks that part. The median of the three random directions decides, because a denoiser
    may be discontinuous, as thresholding is.
    """
    maps = AutogradMaps(forward, noisy, repeatable=False)
    with torch.no_grad():
        # Raise errors of the denoiser itself before they are taken for failed differentiation.
        forward(noisy[:1], 0)
    try:
        return maps if _is_derivative(maps, forward, noisy[:1], sigma) else None
    except (RuntimeError, TypeError) as error:
        # Otherwise a tensor that requires gradients was converted to an array, or an operation is not differentiable.
        if is_out_of_memory(error):
            raise
        return None


def _is_derivative(maps: AutogradMaps, forward: Callable[[Tensor, int], Tensor], image: Tensor, sigma: float) -> bool:
    """Return whether derivatives agree with finite differences; a second, smaller step may avoid a discontinuity."""
    random = generator("noise", "differences")
    # Functions of the whole image, such as a threshold, change along the image itself.
    directions = torch.cat([image, torch.randn(DIRECTIONS, *image.shape[1:], generator=random).to(image)])
    directions *= image[0].numel() ** 0.5 / directions.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
    # Jacobians are computed from transposed products; u'J v for random u estimates the norm of J v and of its error.
    probes = torch.randn(ERROR_PROBES, image.numel(), generator=random).to(image)
    derivatives = maps.select(0).rmatvec(probes[None])[0].double() @ directions.flatten(1).double().mT
    for step in (STEP * sigma, SMALLER_STEP * sigma):
        with torch.no_grad():
            values = [
                [forward(image + sign * step * direction, 0).double().flatten() for direction in directions]
                for sign in (1, -1)
            ]
        differences = (torch.stack(values[0]) - torch.stack(values[1])) / (2 * step)
        errors = (probes.double() @ differences.mT - derivatives).square().mean(0).sqrt()
        errors /= differences.norm(dim=1).clamp_min(1e-12)
        if torch.maximum(errors[0], errors[1:].median()) <= TOLERANCE:
            return True
    return False
