"""Flows of squares: the lines that follow contours, and the orders in which they visit the samples."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..._tensors import cache_tensors, can_read_values

#: Number of integers that describe a flow: direction, bend and twist.
FLOW_SIZE = 3
#: Maximum displacement by a bend or a twist, in sides of the square.
LARGEST_BEND = 0.1875
#: Maximum number of samples of cached orders.
MAX_CACHED = 1 << 22


@dataclass(frozen=True, eq=False)
class Orderings:
    """Orders in which to visit the samples of a square, for each direction."""

    angles: tuple[float, ...]
    samples: Tensor

    def __len__(self) -> int:
        return len(self.angles)


@dataclass(frozen=True, eq=False)
class Flows:
    """The flows of squares of a given side.

    A flow has three integers. The first is the index of a direction. Directions are equally spaced, and the nearest
    direction is at most half a sample off across a square. Along the direction, a contour is a parabola with ``bend``
    and a cubic with ``twist``, both in half samples at the end of the square. With the coordinates u along the
    direction, in half sides, and v across it, downwards in samples, contours are v = bend/2 u^2 + twist/2 u^3 +
    constant.
    """

    side: int
    degree: int = 1
    table: Orderings | None = None
    fixed_orders: Tensor | None = None

    @functools.cached_property
    def angles(self) -> tuple[float, ...]:
        """Angles of the directions in degrees, from 0 to 180, counter-clockwise from the rows of the grid."""
        if self.table is not None:
            return self.table.angles
        count = max(16, math.ceil(math.pi / 2 * self.side))
        return tuple(180 * (number + 0.5) / count for number in range(count))

    @property
    def largest_bend(self) -> int:
        """Maximum bend and twist, in half samples."""
        return int(2 * LARGEST_BEND * self.side)

    def directions(self) -> Tensor:
        """Return the straight flows of all directions, shape (D, 3)."""
        return _directions(len(self.angles))

    def nearest_straight(self, smaller: Flows, flows: Tensor) -> Tensor:
        """Return the straight flows nearest to flows of smaller squares, both of shape (..., 3)."""
        nearest = torch.zeros_like(flows)
        doubled = (2 * flows[..., 0] + 1) * len(self.angles)
        nearest[..., 0] = doubled.div(2 * len(smaller.angles), rounding_mode="floor")
        return nearest

    def move(self, flows: Tensor, by: tuple[int, int, int]) -> Tensor:
        """Add integers to flows (..., 3) within their ranges."""
        moved = flows + torch.tensor(by, device=flows.device)
        # After a rotation by 180 degrees the direction is the same, and a parabola opens to the other side.
        is_rotated = (moved[..., 0] < 0) | (moved[..., 0] >= len(self.angles))
        moved[..., 0] %= len(self.angles)
        moved[..., 1] = torch.where(is_rotated, -moved[..., 1], moved[..., 1])
        moved[..., 1:].clamp_(-self.largest_bend, self.largest_bend)
        return moved

    def orders(self, flows: Tensor) -> Tensor:
        """Return the indices of the samples of a square, row by row, in the order of each flow."""
        if self.fixed_orders is not None:
            return self.fixed_orders.to(flows.device)[flows[..., 0]]
        if self.table is not None:
            return self.table.samples.to(flows.device)[flows[..., 0]]
        if self.degree == 1 and len(self.angles) * self.side**2 <= MAX_CACHED:
            return _straight(self.side, len(self.angles)).to(flows.device)[flows[..., 0]]
        if not can_read_values(flows):
            # On a GPU, finding distinct flows would synchronize, so equal flows are ordered repeatedly.
            return _orders(self.side, len(self.angles), flows.reshape(-1, FLOW_SIZE)).view(*flows.shape[:-1], -1)
        distinct, indices = torch.unique(flows.reshape(-1, FLOW_SIZE), dim=0, return_inverse=True)
        return _orders(self.side, len(self.angles), distinct)[indices.reshape(flows.shape[:-1])]


def parameters(flows: Tensor) -> Tensor:
    """Return the number of parameters of flows (..., 3): 1 for straight, 2 for quadratic and 3 for cubic flows."""
    is_cubic = flows[..., 2] != 0
    return 1 + (is_cubic | (flows[..., 1] != 0)).long() + is_cubic.long()


def _directions(count: int) -> Tensor:
    flows = torch.zeros(count, FLOW_SIZE, dtype=torch.long)
    flows[:, 0] = torch.arange(count)
    return flows


@cache_tensors(16)
def _straight(side: int, count: int) -> Tensor:
    return _orders(side, count, _directions(count))


def _orders(side: int, count: int, flows: Tensor) -> Tensor:
    """Return the orders of flows (F, 3) with ``count`` directions, by the contour of each sample."""
    half = side / 2
    positions = torch.arange(side, dtype=torch.float64, device=flows.device) - (side - 1) / 2
    angles = (flows[:, 0] + 0.5) * (math.pi / count)
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    rows, columns = positions[:, None], positions[None, :]
    along = (cos * columns - sin * rows) / half
    bend, twist = (flows[:, number, None, None] / 2 for number in (1, 2))
    # The last term orders samples on the same line along the line rather than by rounding errors.
    across = sin * columns + cos * rows - along**2 * (bend + twist * along) + 1e-6 * along
    return across.flatten(1).argsort(dim=1, stable=True)


@cache_tensors(16)
def orderings(side: int, max_directions: int | None = None) -> Orderings:
    """Return the distinct orderings of a square of the given side, by the coordinate across a direction."""
    lines = _lines(side)
    bounds = [math.atan2(up, right) for right, up in lines] + [math.pi]
    # The last arc ends at 180 degrees.
    ends = [*lines[1:], (-1, 0)]
    arcs = list(range(len(lines)))
    if max_directions is not None and max_directions < len(lines):
        middles = (np.arange(max_directions) + 0.5) * (math.pi / max_directions)
        arcs = sorted(set((np.searchsorted(bounds, middles, side="right") - 1).tolist()))
    rows, columns = torch.arange(side)[:, None], torch.arange(side)
    # No line through two samples has the direction of the sum of the vectors at both ends of an arc.
    directions = [(lines[arc][0] + ends[arc][0], lines[arc][1] + ends[arc][1]) for arc in arcs]
    return Orderings(
        angles=tuple(math.degrees((bounds[arc] + bounds[arc + 1]) / 2) for arc in arcs),
        samples=torch.stack([(right * rows + up * columns).flatten().argsort() for right, up in directions]),
    )


def _lines(side: int) -> list[tuple[int, int]]:
    """Return the directions (right, up) of lines through two samples, sorted by angle in [0, 180) degrees."""
    entries = range(1 - side, side)
    primitive = [
        (right, up) for right in entries for up in range(side) if math.gcd(right, up) == 1 and (up > 0 or right > 0)
    ]
    return sorted(primitive, key=lambda vector: math.atan2(vector[1], vector[0]))
