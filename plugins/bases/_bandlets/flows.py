"""Flows: the lines in a square along which contours are followed, and the orders in which they visit its samples."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..._tensors import cache_tensors, can_read_values

#: Numbers of a flow: its angle, and by how many half samples it bends and twists at the ends of the square.
NUMBERS = 3
#: The largest displacement by a bend or a twist, in sides.
LARGEST_BEND = 0.1875
#: Orders that are kept, in samples.
KEPT = 1 << 22


@dataclass(frozen=True, eq=False)
class Orderings:
    """Orders in which to visit the samples of a square, one for each direction."""

    angles: tuple[float, ...]
    samples: Tensor

    def __len__(self) -> int:
        return len(self.angles)


@dataclass(frozen=True, eq=False)
class Flows:
    """The flows of squares of one side.

    A flow is three integers. The angle counts directions, equally spread and so many that across a square the nearest
    is no more than half a sample off. Along it a contour bends as a parabola and twists as a cubic: by half of so many
    samples where it leaves the square. In the coordinates u along the direction, in half sides, and v across it,
    downwards in samples, contours are v = bend/2 u^2 + twist/2 u^3 + constant.
    """

    side: int
    degree: int = 1
    table: Orderings | None = None
    given: Tensor | None = None

    @functools.cached_property
    def angles(self) -> tuple[float, ...]:
        """Angles of the directions in degrees, from 0 to 180, counter-clockwise from the rows of the grid."""
        if self.table is not None:
            return self.table.angles
        count = max(16, math.ceil(math.pi / 2 * self.side))
        return tuple(180 * (number + 0.5) / count for number in range(count))

    @property
    def largest_bend(self) -> int:
        """The largest bend and twist, in half samples."""
        return int(2 * LARGEST_BEND * self.side)

    def directions(self) -> Tensor:
        """Return the straight flows of all directions, shape (D, 3)."""
        return _directions(len(self.angles))

    def like(self, smaller: Flows, flows: Tensor) -> Tensor:
        """Return the straight flows nearest to those of smaller squares, shape (..., 3) both."""
        near = torch.zeros_like(flows)
        near[..., 0] = ((2 * flows[..., 0] + 1) * len(self.angles)).div(2 * len(smaller.angles), rounding_mode="floor")
        return near

    def moved(self, flows: Tensor, by: tuple[int, int, int]) -> Tensor:
        """Return flows (..., 3) whose numbers are changed by ``by`` and stay in their ranges."""
        moved = flows + torch.tensor(by, device=flows.device)
        # Turned by 180 degrees a direction is the same, and a parabola opens to the other side.
        turned = (moved[..., 0] < 0) | (moved[..., 0] >= len(self.angles))
        moved[..., 0] %= len(self.angles)
        moved[..., 1] = torch.where(turned, -moved[..., 1], moved[..., 1])
        moved[..., 1:].clamp_(-self.largest_bend, self.largest_bend)
        return moved

    def orders(self, flows: Tensor) -> Tensor:
        """Return the samples of a square, numbered row by row, in the order of each flow."""
        if self.given is not None:
            return self.given.to(flows.device)[flows[..., 0]]
        if self.table is not None:
            return self.table.samples.to(flows.device)[flows[..., 0]]
        if self.degree == 1 and len(self.angles) * self.side**2 <= KEPT:
            return _straight(self.side, len(self.angles)).to(flows.device)[flows[..., 0]]
        if not can_read_values(flows):
            # A GPU orders equal flows again rather than wait for which are distinct.
            return _orders(self.side, len(self.angles), flows.reshape(-1, NUMBERS)).view(*flows.shape[:-1], -1)
        distinct, places = torch.unique(flows.reshape(-1, NUMBERS), dim=0, return_inverse=True)
        return _orders(self.side, len(self.angles), distinct)[places.reshape(flows.shape[:-1])]


def parameters(flows: Tensor) -> Tensor:
    """Return by how many numbers flows (..., 3) are described: 1 for a straight one to 3 for a cubic."""
    twists = flows[..., 2] != 0
    return 1 + (twists | (flows[..., 1] != 0)).long() + twists.long()


def _directions(count: int) -> Tensor:
    flows = torch.zeros(count, NUMBERS, dtype=torch.long)
    flows[:, 0] = torch.arange(count)
    return flows


@cache_tensors(16)
def _straight(side: int, count: int) -> Tensor:
    return _orders(side, count, _directions(count))


def _orders(side: int, count: int, flows: Tensor) -> Tensor:
    """Return the orders of flows (F, 3) among ``count`` directions: samples by the contour that they are on."""
    half = side / 2
    places = torch.arange(side, dtype=torch.float64, device=flows.device) - (side - 1) / 2
    angles = (flows[:, 0] + 0.5) * (math.pi / count)
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    rows, columns = places[:, None], places[None, :]
    along = (cos * columns - sin * rows) / half
    bend, twist = (flows[:, number, None, None] / 2 for number in (1, 2))
    # Samples on one line are visited from its beginning to its end, and not as rounding has it.
    across = sin * columns + cos * rows - along**2 * (bend + twist * along) + 1e-6 * along
    return across.flatten(1).argsort(dim=1, stable=True)


@cache_tensors(16)
def orderings(side: int, max_directions: int | None = None) -> Orderings:
    """Return the distinct orderings of a square of ``side`` samples a side, by their coordinate across a direction."""
    lines = _lines(side)
    bounds = [math.atan2(up, right) for right, up in lines] + [math.pi]
    # The last arc ends at 180 degrees.
    ends = [*lines[1:], (-1, 0)]
    arcs = list(range(len(lines)))
    if max_directions is not None and max_directions < len(lines):
        middles = (np.arange(max_directions) + 0.5) * (math.pi / max_directions)
        arcs = sorted(set((np.searchsorted(bounds, middles, side="right") - 1).tolist()))
    rows, columns = torch.arange(side)[:, None], torch.arange(side)
    # No two samples lie along the sum of the vectors at both ends of an arc.
    directions = [(lines[arc][0] + ends[arc][0], lines[arc][1] + ends[arc][1]) for arc in arcs]
    return Orderings(
        angles=tuple(math.degrees((bounds[arc] + bounds[arc + 1]) / 2) for arc in arcs),
        samples=torch.stack([(right * rows + up * columns).flatten().argsort() for right, up in directions]),
    )


def _lines(side: int) -> list[tuple[int, int]]:
    """Return the directions (right, up) of lines through two samples, by their angle from 0 to below 180 degrees."""
    entries = range(1 - side, side)
    primitive = [
        (right, up) for right in entries for up in range(side) if math.gcd(right, up) == 1 and (up > 0 or right > 0)
    ]
    return sorted(primitive, key=lambda vector: math.atan2(vector[1], vector[0]))
