"""C^alpha images as the published code makes them, from given random numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from ._spectral import filtered, power_law

#: Fields that are filtered together.
TOGETHER = 32


def masks(noise: Tensor, alpha: float) -> Tensor:
    """Return which region each pixel is of, blurred 2x2, shape (N, size, size), of noise (N, size) in (-1, 1)."""
    size = noise.shape[1]
    contours = filtered(noise, power_law((size,), alpha, constant=1))
    tops = torch.round(size * contours) + size // 2
    # Each pixel is averaged with its neighbours above and to the left, mirrored at the border; in bytes, for speed.
    rows = torch.cat([torch.ones(1), torch.arange(size)])
    below = (rows[:, None] >= torch.cat([tops[:, 1:2], tops], dim=1)[:, None]).to(torch.uint8)
    pairs = below[:, 1:] + below[:, :-1]
    return (pairs[:, :, 1:] + pairs[:, :, :-1]).float() / 4


def backgrounds(noise: Tensor, alpha: float, limits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two backgrounds of N images, shape (N, size, size) each.

    Parameters
    ----------
    noise
        Shape (2 N, size, size), values in (-1, 1): that of the first backgrounds, then that of the second.
    alpha
        Exponent of the filter |k|^-alpha.
    limits
        Shape (3, N, 1, 1): the least value of the bright background, the largest of the dark one, and a number below
        1/2 where the first is the bright one.
    """
    domain = (noise.shape[1], noise.shape[2])
    amplitude = power_law(domain, alpha, constant=1)
    bottom, top, coin = limits
    # The two take turns in being [bottom, 1] and [0, top].
    bright = torch.cat([coin < 0.5, coin >= 0.5])
    heights = torch.where(bright, torch.cat([1 - bottom, 1 - bottom]), torch.cat([top, top]))
    depths = torch.where(bright, torch.cat([bottom, bottom]), 0)
    found = []
    # Few at a time and in place: memory takes longer than arithmetic.
    for part, height, depth in zip(*(torch.split(whole, TOGETHER) for whole in (noise, heights, depths)), strict=True):
        fields = filtered(part, amplitude)
        low, high = fields.amin((1, 2), keepdim=True), fields.amax((1, 2), keepdim=True)
        found.append(fields.sub_(low).div_(high - low).mul_(height).add_(depth))
    first, second = torch.cat(found).chunk(2)
    return first, second
