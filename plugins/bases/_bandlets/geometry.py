"""The geometry of an image: the squares that its subbands are cut into, and the direction in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Orientation = Literal["horizontal", "vertical", "diagonal"]


@dataclass(frozen=True)
class Square:
    """A dyadic square of a subband.

    Parameters
    ----------
    band
        Label of the subband, as in ``bands``.
    scale
        Pixels of the image to a sample of the subband: 2, 4, ... for wavelets, finest first; 1 without wavelets.
    orientation
        The orientation of structures in the subband: ``horizontal`` ones, which change from row to row, ``vertical``
        ones, or ``diagonal`` ones; ``None`` without wavelets.
    top, left, side
        Its first row, first column and side, in samples of the subband.
    angle
        Direction of the contours in it, in degrees from 0 to 180, counter-clockwise from horizontal: along 45 a contour
        rises to the right. ``None`` where coefficients are left as they are.
    bend, twist
        By how many samples contours move downwards, turned by ``angle``, where they leave the square: as a parabola on
        both sides, and as a cubic to the one side at one end and to the other at the other.
    """

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
    """The geometry of one channel of an image.

    Parameters
    ----------
    squares
        By subband, largest first, then by row and column. They do not overlap. Samples in none of them are left as they
        are: those of the approximation, and those where a subband ends before another square does.
    """

    squares: tuple[Square, ...]
