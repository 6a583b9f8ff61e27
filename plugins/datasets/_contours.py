"""Contours of known geometry: the part of each pixel on one side of them, and functions that are zero on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Lines:
    """Contours that cross images from left to right."""

    heights: Tensor

    def masks(self, size: int) -> Tensor:
        """Return the part of each pixel below, shape (N, size, size)."""
        nodes = self.heights.shape[1] - 1
        places = torch.arange(nodes + 1)[None] * (size / nodes)
        # With rows and columns swapped, below a path to the right is right of a path that goes down.
        return coverage(rows=places, columns=size * self.heights, size=size).mT

    def level_sets(self, size: int) -> Tensor:
        """Return how far above the contour the middle of each pixel is, in pixels, shape (N, size, size), float64."""
        step = (self.heights.shape[1] - 1) // size
        middles = size * self.heights[:, step // 2 :: step].double()
        return middles[:, None, :] - (torch.arange(size, dtype=torch.float64) + 0.5)[:, None]


@dataclass(frozen=True, eq=False)
class Stars:
    """Closed contours that every ray from a centre crosses once."""

    centres: Tensor
    radius: float
    growth: Tensor

    def masks(self, size: int) -> Tensor:
        """Return the part of each pixel inside, shape (N, size, size)."""
        nodes = self.growth.shape[1]
        centres = size * self.centres
        radii = size * self.radius * self.growth
        radii = torch.cat([radii, radii[:, :1]], dim=1)
        angles = torch.arange(nodes + 1) * (2 * math.pi / nodes)
        rows = centres[:, 0] - radii * torch.sin(angles)
        columns = centres[:, 1] + radii * torch.cos(angles)
        # The first and last node differ by rounding in the angle alone; a closed path must close.
        rows[:, -1], columns[:, -1] = rows[:, 0], columns[:, 0]
        return coverage(rows, columns, size)

    def level_sets(self, size: int) -> Tensor:
        """Return how far outside, along the ray, the middle of each pixel is, in pixels, (N, size, size), float64."""
        nodes = self.growth.shape[1]
        radii = size * self.radius * self.growth.double()
        places = torch.arange(size, dtype=torch.float64) + 0.5
        found = []
        for centre, radius in zip(size * self.centres[..., 0].double(), radii, strict=True):
            up, right = (centre[0] - places)[:, None], places - centre[1]
            turns = (torch.atan2(up.expand(size, size), right.expand(size, size)) / (2 * math.pi)).remainder(1) * nodes
            before = turns.floor()
            node = before.long() % nodes
            share = turns - before
            found.append(torch.hypot(up, right) - torch.lerp(radius[node], radius[(node + 1) % nodes], share))
        return torch.stack(found)


def coverage(rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """Return the area of each pixel to the right of a path, or inside of a closed one."""
    # Parts of a path above or below the image cover nothing, those left of it all columns.
    middles = ((columns[:, 1:] + columns[:, :-1]) / 2).clamp(0, size)
    rows = rows.clamp(0, size).expand(len(middles), -1)
    lefts = middles.floor()
    shares = middles - lefts
    ends = rows[:, :-1], rows[:, 1:]
    first = torch.minimum(*ends).floor()
    last = torch.maximum(*ends).floor()
    # The part that a step covers of its row goes to the pixel it crosses and, as an increment, to the next: a sum along
    # the row then covers all pixels to the right. The row and columns past the image take what has no place in it.
    increments = rows.new_zeros(len(rows), (size + 1) * (size + 2))
    for offset in range(int((last - first).max()) + 1):
        row = first + offset
        depth = (ends[1] - row).clamp(0, 1) - (ends[0] - row).clamp(0, 1)
        places = row.long().clamp(max=size) * (size + 2) + lefts.long()
        increments.scatter_add_(1, places, depth * (1 - shares))
        increments.scatter_add_(1, places + 1, depth * shares)
    # The clamp removes only rounding.
    return increments.view(-1, size + 1, size + 2)[:, :size, :size].cumsum(-1).clamp(0, 1)
