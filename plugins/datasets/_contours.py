"""Contours of known geometry: the part of each pixel on one side of them, and functions that are zero on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ._coverage import coverage


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
