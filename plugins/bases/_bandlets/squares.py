"""The dyadic squares that subbands can be cut into, and those that an image is cut into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Orientation = Literal["horizontal", "vertical", "diagonal"]


@dataclass(frozen=True, eq=False)
class Squares:
    """All squares of one side, in all subbands."""

    side: int
    places: Tensor
    samples: Tensor
    quarters: Tensor

    def __len__(self) -> int:
        return len(self.places)


def dyadic_squares(bands: Tensor, usable: Tensor, sides: Sequence[int]) -> tuple[Squares, ...]:
    """Return the squares that lie whole within one subband and hold nothing but usable samples."""
    labels = sorted(set(bands.flatten().tolist()) - {0})
    levels: list[Squares] = []
    for side in sides:
        places = torch.cat([_places(bands == label, usable, side) for label in labels])
        quarters = _quarters(places, levels[-1]) if levels else places.new_empty((len(places), 0))
        offsets = (torch.arange(side)[:, None] * bands.shape[1] + torch.arange(side)[None, :]).flatten()
        samples = (places[:, 0] * bands.shape[1] + places[:, 1])[:, None] + offsets
        levels.append(Squares(side, places, samples, quarters))
    return tuple(levels)


def _places(band: Tensor, usable: Tensor, side: int) -> Tensor:
    """Return the corners of the squares of a subband."""
    rows, columns = band.nonzero().T
    top, left = int(rows.min()), int(columns.min())
    height, width = int(rows.max()) + 1 - top, int(columns.max()) + 1 - left
    down, across = height // side, width // side
    within = usable[top : top + down * side, left : left + across * side]
    whole = within.reshape(down, side, across, side).all(dim=3).all(dim=1)
    return whole.nonzero() * side + torch.tensor([top, left])


def _quarters(places: Tensor, smaller: Squares) -> Tensor:
    corners = places[:, None, :] + smaller.side * torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    if len(places) == 0:
        return torch.empty(0, 4, dtype=torch.long)
    width = int(smaller.places[:, 1].max()) + 1
    known, order = (smaller.places[:, 0] * width + smaller.places[:, 1]).sort()
    return order[torch.searchsorted(known, corners[..., 0] * width + corners[..., 1])]


@dataclass(frozen=True)
class Square:
    """A dyadic square of a subband."""

    band: int
    scale: int
    orientation: Orientation | None
    top: int
    left: int
    side: int
    angle: float | None
    bend: float = 0.0
    twist: float = 0.0

    @property
    def pixels(self) -> tuple[int, int, int]:
        """First row, first column and side of what it covers of the image, in pixels."""
        return self.scale * self.top, self.scale * self.left, self.scale * self.side


@dataclass(frozen=True)
class Geometry:
    """The geometry of one channel of an image."""

    squares: tuple[Square, ...]
