"""The receptive field of a network, measured: which pixels of the noisy image a pixel of the result depends on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gahbench._util.noise import generator
from gahbench._util.shapes import Shape

#: Sides of the images that it is measured on: powers of two, so that their middle lies on the grid of any pooling.
SIDES = (64, 128, 256)
#: Pixels are tried so far from the middle, on either side: the positions that a pooling by up to 16 distinguishes.
PLACES = 8
#: Networks with fewer parameters are measured on several images: where a rectifier is closed in one, it may be open in
#: another. Wide ones have others beside it.
NARROW = 100_000
#: Seconds, about, beyond which a larger image is not tried.
SECONDS = 20.0


@dataclass(frozen=True)
class ReceptiveField:
    """A measured receptive field."""

    on_grid: tuple[int, int]
    largest: tuple[int, int]
    side: int
    reaches_border: bool
    ended_early: bool = False

    def __str__(self) -> str:
        if self.ended_early:
            return f"at least {_pixels(self.largest)} pixels; larger images were not tried, for time"
        if self.reaches_border:
            return f"global: it reaches the borders of images of {self.side}x{self.side}, the largest that were tried"
        if self.on_grid == self.largest:
            return f"{_pixels(self.on_grid)} pixels"
        return f"{_pixels(self.on_grid)} pixels on the grid of the pooling, up to {_pixels(self.largest)} elsewhere"


def receptive_field(
    build: Callable[[Shape], nn.Module], channels: int = 1, sides: Sequence[int] = SIDES, seconds: float = SECONDS
) -> ReceptiveField:
    """Measure the receptive field of a network by the gradient of its result, on larger images until it fits."""
    found: ReceptiveField | None = None
    refused: Exception | None = None
    for side in sides:
        try:
            network = build((channels, side, side))
            started = time.monotonic()
            with torch.enable_grad():
                found = _on(network, channels, side, started + seconds)
        except ValueError as error:
            refused = error
            continue
        if not found.reaches_border:
            break
        # The work grows as the number of pixels, or faster.
        if side != sides[-1] and 4 * (time.monotonic() - started) > seconds:
            return replace(found, ended_early=True)
    if found is None:
        raise ValueError(f"it takes no images of {_listed(sides)} pixels: {refused}") from refused
    return found


def dependence(noisy: Tensor, denoised: Tensor, row: int, column: int) -> tuple[int, int, int, int]:
    """Return the box of pixels that one pixel of a result depends on: first and last row, first and last column."""
    (gradient,) = torch.autograd.grad(denoised[:, :, row, column].sum(), noisy, retain_graph=True)
    # Not a number counts too: it came from somewhere.
    reached = (gradient != 0).any(0).any(0)
    rows, columns = reached.any(1).nonzero(), reached.any(0).nonzero()
    if not len(rows):
        raise ValueError("its result depends on no pixel of the noisy image")
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def _on(network: nn.Module, channels: int, side: int, until: float) -> ReceptiveField:
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    narrow = sum(parameter.numel() for parameter in network.parameters()) < NARROW
    count = max(1, (128 // side) ** 2) if narrow else 1
    noisy = torch.rand(count, channels, side, side, generator=generator("data", "receptive field")).requires_grad_()
    denoised = network(noisy, torch.full((count,), 0.1))
    middle = side // 2
    box = dependence(noisy, denoised, middle, middle)
    height, width = largest = _size(box)
    inside = _inside(box, side)
    if inside and not _moves_along(network, noisy, denoised):
        for place in range(1, PLACES + 1):
            if not inside or time.monotonic() > until:
                break
            # Rows do not depend on the column, nor columns on the row: two places at a time.
            box = dependence(noisy, denoised, middle + place, middle - place)
            inside = _inside(box, side)
            tall, wide = _size(box)
            largest = (max(largest[0], tall), max(largest[1], wide))
        if height == width:
            # By symmetry the result for rows on one side of the middle holds for columns, and on the other side.
            largest = (max(largest), max(largest))
    return ReceptiveField((height, width), largest, side, not inside)


def _moves_along(network: nn.Module, noisy: Tensor, denoised: Tensor) -> bool:
    """Return whether the result at the middle of an image moved by one pixel is the same, moved."""
    middle = noisy.shape[-1] // 2
    with torch.no_grad():
        moved = noisy.roll((1, 1), (2, 3))
        # The part subtracted from the noisy image, which itself moves along and may be far larger.
        after = network(moved, torch.full((len(noisy),), 0.1)) - moved
        before = denoised - noisy
    difference = after[:, :, middle + 1, middle + 1] - before[:, :, middle, middle]
    return float(difference.abs().max()) <= 1e-4 * float(before.abs().max())


def _size(box: tuple[int, int, int, int]) -> tuple[int, int]:
    return box[1] - box[0] + 1, box[3] - box[2] + 1


def _inside(box: tuple[int, int, int, int], side: int) -> bool:
    return min(box[0], box[2]) > 0 and max(box[1], box[3]) < side - 1


def _pixels(size: tuple[int, int]) -> str:
    height, width = size
    return f"{height}" if height == width else f"{height}x{width}"


def _listed(sides: Sequence[int]) -> str:
    return ", ".join(f"{side}x{side}" for side in sides)
