"""Measured receptive fields of networks: the pixels of the noisy image that affect a pixel of the output."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gahbench._util.noise import generator
from gahbench._util.shapes import Shape

#: Sides of the test images: powers of two, so that their middle lies on the grid of any pooling.
SIDES = (64, 128, 256)
#: Maximum offset of tested pixels from the middle, in both directions: enough for all positions of pooling by up to 16.
MAX_OFFSET = 8
#: Networks with fewer parameters are measured on several images, since a ReLU that is inactive for one image may
#: be active for another. Wider networks have enough parallel ReLUs.
FEW_PARAMETERS = 100_000
#: Approximate time limit in seconds for an image, and for trying a larger image.
SECONDS = 20.0


@dataclass(frozen=True)
class ReceptiveField:
    """A measured receptive field: heights and widths in pixels.

    ``on_grid`` is the field of the middle pixel, which lies on the grid of any pooling, and ``largest`` the largest
    field of all tested pixels. Images had the side ``side``. Larger images were not tried if ``ended_early``.
    """

    on_grid: tuple[int, int]
    largest: tuple[int, int]
    side: int
    reaches_border: bool
    ended_early: bool = False

    def __str__(self) -> str:
        sizes = (self.on_grid, self.largest)
        on_grid, largest = (f"{tall}" if tall == wide else f"{tall}x{wide}" for tall, wide in sizes)
        if self.ended_early:
            return f"at least {largest} pixels; larger images would take too long to try"
        if self.reaches_border:
            return f"global: it reaches the borders of {self.side}x{self.side} images, the largest tried"
        if on_grid == largest:
            return f"{on_grid} pixels"
        return f"{on_grid} pixels on the grid of the pooling, up to {largest} elsewhere"


def receptive_field(
    build: Callable[[Shape], nn.Module], channels: int = 1, sides: Sequence[int] = SIDES, seconds: float = SECONDS
) -> ReceptiveField:
    """Measure the receptive field of a network by gradients, on images of increasing size until the field fits."""
    field: ReceptiveField | None = None
    refusal: Exception | None = None
    for side in sides:
        started = time.monotonic()
        try:
            field = _measure(build((channels, side, side)), channels, side, started + seconds)
        except ValueError as error:
            refusal = error
            continue
        if not field.reaches_border:
            break
        # The time grows at least in proportion to the number of pixels.
        if side != sides[-1] and 4 * (time.monotonic() - started) > seconds:
            return replace(field, ended_early=True)
    if field is None:
        tried = ", ".join(f"{side}x{side}" for side in sides)
        raise ValueError(f"the network accepts no images of {tried} pixels: {refusal}") from refusal
    return field


def dependence(noisy: Tensor, denoised: Tensor, row: int, column: int) -> tuple[int, int, int, int]:
    """Return the box of pixels that affect one output pixel: first row, last row, first column, last column."""
    (gradient,) = torch.autograd.grad(denoised[:, :, row, column].sum(), noisy, retain_graph=True)
    # NaN counts as a dependence.
    has_effect = (gradient != 0).any(0).any(0)
    rows, columns = has_effect.any(1).nonzero(), has_effect.any(0).nonzero()
    if not len(rows):
        raise ValueError("the output of the network depends on no pixel of the noisy image")
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


@torch.enable_grad()
def _measure(network: nn.Module, channels: int, side: int, deadline: float) -> ReceptiveField:
    network.requires_grad_(False)
    is_small = sum(parameter.numel() for parameter in network.parameters()) < FEW_PARAMETERS
    count = max(1, (128 // side) ** 2) if is_small else 1
    noisy = torch.rand(count, channels, side, side, generator=generator("data", "receptive field")).requires_grad_()
    denoised = network(noisy, torch.full((count,), 0.1))
    sizes: list[tuple[int, int]] = []
    reaches_border = False
    for offset in range(MAX_OFFSET + 1):
        if reaches_border or (offset and time.monotonic() > deadline):
            break
        # The rows of a box depend only on the row of the pixel, and likewise columns, so test two offsets at once.
        top, bottom, left, right = dependence(noisy, denoised, side // 2 + offset, side // 2 - offset)
        sizes.append((bottom - top + 1, right - left + 1))
        reaches_border = min(top, left) == 0 or max(bottom, right) == side - 1
    tall, wide = (max(extents) for extents in zip(*sizes, strict=True))
    if sizes[0][0] == sizes[0][1]:
        # By symmetry, rows and columns have the same extents.
        tall = wide = max(tall, wide)
    return ReceptiveField(sizes[0], (tall, wide), side, reaches_border)
