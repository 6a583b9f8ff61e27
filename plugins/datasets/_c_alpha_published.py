"""C^alpha images as the published code makes them, from given random numbers."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from gahbench import hardware

from .._tensors import cache_tensors
from ._spectral import filtered, power_law

#: Images that are made together on a CPU: what leaves its cache takes longer than arithmetic.
TOGETHER = 16
#: Of each thread: to get fresh memory from the system takes half as long as all else.
_HELD = threading.local()


def drawn(generator: torch.Generator, count: int, size: int) -> Tensor:
    """Draw the noise of backgrounds, shape (2 count, size, size), which lasts until a thread draws again."""
    shape = (2 * count, size, size)
    noise: Tensor | None = getattr(_HELD, "noise", None)
    if noise is None or noise.shape != shape:
        noise = _HELD.noise = torch.empty(shape)
    return noise.uniform_(-1, 1, generator=generator)


def masks(noise: Tensor, alpha: float) -> Tensor:
    """Return which region each pixel is of, blurred 2x2, shape (N, size, size), of noise (N, size) in (-1, 1)."""
    size = noise.shape[1]
    contours = filtered(noise, _amplitude((size,), alpha))
    tops = torch.round(size * contours) + size // 2
    # Each pixel is averaged with its neighbours above and to the left, mirrored at the border; in bytes, for speed.
    rows = torch.cat([torch.ones(1), torch.arange(size)])
    below = (rows[:, None] >= torch.cat([tops[:, 1:2], tops], dim=1)[:, None]).view(torch.uint8)
    pairs = below[:, 1:] + below[:, :-1]
    return (pairs[:, :, 1:] + pairs[:, :, :-1]) * 0.25


def images(masks: Tensor, noise: Tensor, alpha: float, limits: Tensor) -> Tensor:
    """Return N images, shape (N, size, size), made on the device of the arguments."""
    count = len(masks)
    bottom, top, coin = limits
    # The two take turns in being [bottom, 1] and [0, top].
    bright = torch.stack([coin < 0.5, coin >= 0.5])
    heights = torch.where(bright, 1 - bottom, top)
    depths = torch.where(bright, bottom, 0)
    amplitude = _amplitude(tuple(masks.shape[1:]), alpha)
    together = count if hardware(masks.device).has_large_batches else TOGETHER
    for start in range(0, count, together):
        chosen = slice(start, start + together)
        first, second = (
            _background(white[chosen], amplitude, height[chosen], depth[chosen])
            for white, height, depth in zip(noise.chunk(2), heights, depths, strict=True)
        )
        share = masks[chosen]
        torch.add(first.mul_(share), second.mul_(1 - share), out=share)
    return masks


def _background(noise: Tensor, amplitude: Tensor, height: Tensor, depth: Tensor) -> Tensor:
    """Return filtered noise, rescaled to exactly [depth, depth + height]."""
    fields = filtered(noise, amplitude)
    low, high = fields.amin((1, 2), keepdim=True), fields.amax((1, 2), keepdim=True)
    return fields.sub_(low).div_(high - low).mul_(height).add_(depth)


@cache_tensors(8)
def _amplitude(domain: tuple[int, ...], alpha: float) -> Tensor:
    return power_law(domain, alpha, constant=1).float()
