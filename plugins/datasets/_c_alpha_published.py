"""C^alpha images by the construction of the published code, from given random numbers."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from gahbench import hardware

from .._tensors import cache_tensors
from ._spectral import filter_noise, power_law

#: Number of images per batch on a CPU, small enough for its cache.
BATCH = 16
#: Buffers of each thread: allocating fresh memory would take half as long as all other work.
_BUFFERS = threading.local()


def draw_noise(generator: torch.Generator, count: int, size: int) -> Tensor:
    """Draw the noise of backgrounds, shape (2 count, size, size), into a buffer that the thread's next call reuses."""
    shape = (2 * count, size, size)
    noise: Tensor | None = getattr(_BUFFERS, "noise", None)
    if noise is None or noise.shape != shape:
        noise = _BUFFERS.noise = torch.empty(shape)
    return noise.uniform_(-1, 1, generator=generator)


def build_masks(noise: Tensor, alpha: float) -> Tensor:
    """Return masks of the lower region, blurred 2x2, shape (N, size, size), from noise (N, size) in (-1, 1)."""
    size = noise.shape[1]
    contours = filter_noise(noise, _amplitude((size,), alpha))
    tops = torch.round(size * contours) + size // 2
    # Each pixel is averaged with its neighbours above and to the left, mirrored at the border; in bytes, for speed.
    rows = torch.cat([torch.ones(1), torch.arange(size)])
    below = (rows[:, None] >= torch.cat([tops[:, 1:2], tops], dim=1)[:, None]).view(torch.uint8)
    pairs = below[:, 1:] + below[:, :-1]
    return (pairs[:, :, 1:] + pairs[:, :, :-1]) * 0.25


def build_images(masks: Tensor, noise: Tensor, alpha: float, limits: Tensor) -> Tensor:
    """Return N images, shape (N, size, size), on the device of the arguments; the masks are overwritten."""
    count = len(masks)
    bottom, top, coin = limits
    # A coin decides which background has the range [bottom, 1]; the other has [0, top].
    bright = torch.stack([coin < 0.5, coin >= 0.5])
    heights = torch.where(bright, 1 - bottom, top)
    depths = torch.where(bright, bottom, 0)
    amplitude = _amplitude(tuple(masks.shape[1:]), alpha)
    batch = count if hardware(masks.device).is_accelerator else BATCH
    for start in range(0, count, batch):
        indices = slice(start, start + batch)
        first, second = (
            _background(white[indices], amplitude, height[indices], depth[indices])
            for white, height, depth in zip(noise.chunk(2), heights, depths, strict=True)
        )
        share = masks[indices]
        torch.add(first.mul_(share), second.mul_(1 - share), out=share)
    return masks


def _background(noise: Tensor, amplitude: Tensor, height: Tensor, depth: Tensor) -> Tensor:
    """Return noise filtered by the amplitude, and rescaled to the range [depth, depth + height]."""
    fields = filter_noise(noise, amplitude)
    low, high = fields.amin((1, 2), keepdim=True), fields.amax((1, 2), keepdim=True)
    return fields.sub_(low).div_(high - low).mul_(height).add_(depth)


@cache_tensors(8)
def _amplitude(domain: tuple[int, ...], alpha: float) -> Tensor:
    return power_law(domain, alpha, constant=1).float()
