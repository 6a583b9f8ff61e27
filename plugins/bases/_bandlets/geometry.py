"""The geometry of an image: the squares that its subbands are cut into, and the direction in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Orientation = Literal["horizontal", "vertical", "diagonal"]


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
