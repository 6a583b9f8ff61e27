"""The directions of a square grid, each an order in which to visit its samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..._kept_tensors import kept_tensors


@dataclass(frozen=True, eq=False)
class Orderings:
    """Orders in which to visit the samples of a square, one for each direction."""

    angles: tuple[float, ...]
    samples: Tensor

    def __len__(self) -> int:
        return len(self.angles)


@kept_tensors(16)
def orderings(side: int, max_directions: int | None = None) -> Orderings:
    """Return the distinct orderings of a square of ``side`` samples a side, by their coordinate across a direction."""
    lines = _lines(side)
    bounds = [math.atan2(up, right) for right, up in lines] + [math.pi]
    arcs = list(range(len(lines)))
    if max_directions is not None and max_directions < len(lines):
        middles = (np.arange(max_directions) + 0.5) * (math.pi / max_directions)
        arcs = sorted(set((np.searchsorted(bounds, middles, side="right") - 1).tolist()))
    return Orderings(
        angles=tuple(math.degrees((bounds[arc] + bounds[arc + 1]) / 2) for arc in arcs),
        samples=torch.stack([_ordering(side, *_between(lines, arc)) for arc in arcs]),
    )


def _lines(side: int) -> list[tuple[int, int]]:
    """Return the directions (right, up) of lines through two samples, by their angle from 0 to below 180 degrees."""
    entries = range(1 - side, side)
    primitive = [
        (right, up) for right in entries for up in range(side) if math.gcd(right, up) == 1 and (up > 0 or right > 0)
    ]
    return sorted(primitive, key=lambda vector: math.atan2(vector[1], vector[0]))


def _between(lines: list[tuple[int, int]], arc: int) -> tuple[int, int]:
    """Return the sum of the vectors at both ends of an arc: no two samples lie along it."""
    right, up = lines[arc]
    # The last arc ends at 180 degrees.
    next_right, next_up = lines[arc + 1] if arc + 1 < len(lines) else (-1, 0)
    return right + next_right, up + next_up


def _ordering(side: int, right: int, up: int) -> Tensor:
    """Return the samples by their integer coordinate across a direction, from above."""
    rows, columns = torch.arange(side)[:, None], torch.arange(side)[None, :]
    across = right * rows + up * columns
    return across.flatten().argsort()
