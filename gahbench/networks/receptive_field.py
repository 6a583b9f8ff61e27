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
#: Approximate time limit in seconds for trying a larger image.
SECONDS = 20.0


@dataclass(frozen=True)
class ReceptiveField:
    """A measured receptive field.

    Parameters
    ----------
    on_grid
        Height and width of the receptive field of the middle pixel, which lies on the grid of any pooling.
    largest
        Largest height and width over all tested pixels.
    side
        Side of the test image on which the field was measured.
    reaches_border
        Whether the field reaches the border of the test image.
    ended_early
        Whether larger images were not tried, because they would take too long.
    """

    on_grid: tuple[int, int]
    largest: tuple[int, int]
    side: int
    reaches_border: bool
    ended_early: bool = False

    def __str__(self) -> str:
        if self.ended_early:
            return f"at least {_format_size(self.largest)} pixels; larger images would take too long to try"
        if self.reaches_border:
            return f"global: it reaches the borders of {self.side}x{self.side} images, the largest tried"
        if self.on_grid == self.largest:
            return f"{_format_size(self.on_grid)} pixels"
        on_grid, largest = _format_size(self.on_grid), _format_size(self.largest)
        return f"{on_grid} pixels on the grid of the pooling, up to {largest} elsewhere"


def receptive_field(
    build: Callable[[Shape], nn.Module], channels: int = 1, sides: Sequence[int] = SIDES, seconds: float = SECONDS
) -> ReceptiveField:
    """Measure the receptive field of a network by gradients, on images of increasing size until the field fits."""
    field: ReceptiveField | None = None
    size_error: Exception | None = None
    for side in sides:
        try:
            network = build((channels, side, side))
            started = time.monotonic()
            with torch.enable_grad():
                field = _measure(network, channels, side, started + seconds)
        except ValueError as error:
            size_error = error
            continue
        if not field.reaches_border:
            break
        # The time grows at least in proportion to the number of pixels.
        if side != sides[-1] and 4 * (time.monotonic() - started) > seconds:
            return replace(field, ended_early=True)
    if field is None:
        raise ValueError(
            f"the network accepts no images of {_format_sides(sides)} pixels: {size_error}"
        ) from size_error
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


def _measure(network: nn.Module, channels: int, side: int, deadline: float) -> ReceptiveField:
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    has_few_parameters = sum(parameter.numel() for parameter in network.parameters()) < FEW_PARAMETERS
    count = max(1, (128 // side) ** 2) if has_few_parameters else 1
    noisy = torch.rand(count, channels, side, side, generator=generator("data", "receptive field")).requires_grad_()
    denoised = network(noisy, torch.full((count,), 0.1))
    middle = side // 2
    box = dependence(noisy, denoised, middle, middle)
    height, width = largest = _size(box)
    is_inside = _is_inside(box, side)
    if is_inside and not _is_translation_equivariant(network, noisy, denoised):
        for offset in range(1, MAX_OFFSET + 1):
            if not is_inside or time.monotonic() > deadline:
                break
            # The rows of a box depend only on the row of the pixel, and likewise columns, so test two offsets at once.
            box = dependence(noisy, denoised, middle + offset, middle - offset)
            is_inside = _is_inside(box, side)
            tall, wide = _size(box)
            largest = (max(largest[0], tall), max(largest[1], wide))
        if height == width:
            # By symmetry, rows and columns have the same extents.
            largest = (max(largest), max(largest))
    return ReceptiveField((height, width), largest, side, not is_inside)


def _is_translation_equivariant(network: nn.Module, noisy: Tensor, denoised: Tensor) -> bool:
    """Return whether the output at the middle moves along when the image moves by one pixel."""
    middle = noisy.shape[-1] // 2
    with torch.no_grad():
        moved = noisy.roll((1, 1), (2, 3))
        # Compare only the network's correction, since the noisy image moves along and may be far larger.
        after = network(moved, torch.full((len(noisy),), 0.1)) - moved
        before = denoised - noisy
    difference = after[:, :, middle + 1, middle + 1] - before[:, :, middle, middle]
    return float(difference.abs().max()) <= 1e-4 * float(before.abs().max())


def _size(box: tuple[int, int, int, int]) -> tuple[int, int]:
    return box[1] - box[0] + 1, box[3] - box[2] + 1


def _is_inside(box: tuple[int, int, int, int], side: int) -> bool:
    return min(box[0], box[2]) > 0 and max(box[1], box[3]) < side - 1


def _format_size(size: tuple[int, int]) -> str:
    height, width = size
    return f"{height}" if height == width else f"{height}x{width}"


def _format_sides(sides: Sequence[int]) -> str:
    return ", ".join(f"{side}x{side}" for side in sides)
