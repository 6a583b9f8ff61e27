"""The geometry of an image, drawn over it: squares, and the direction of the contours in each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from gahbench.report.drawing import context

if TYPE_CHECKING:
    from torch import Tensor

_PANEL = 2.6  # inches
_STROKE = 0.8  # of a square's side
_OUTLINE = "#56b4e9"
_DIRECTION = "#d55e00"


class Square(Protocol):
    """A square of a subband; its area in the image is in pixels."""

    @property
    def scale(self) -> int:
        """Pixels to a sample of the subband."""

    @property
    def orientation(self) -> str | None:
        """The orientation of structures in the subband, if there are subbands."""

    @property
    def pixels(self) -> tuple[int, int, int]:
        """First row, first column and side."""

    @property
    def angle(self) -> float | None:
        """Direction of the contours, in degrees counter-clockwise from horizontal, if it has one."""


class Geometry(Protocol):
    """The squares of one channel of an image."""

    @property
    def squares(self) -> Sequence[Square]:
        """In any order."""


def figure(image: Tensor, geometry: Geometry) -> Figure:
    """Draw the geometry of an image: a row of panels for each scale, finest on top, a panel for each subband."""
    panels: dict[int, dict[str | None, list[Square]]] = {}
    for square in geometry.squares:
        panels.setdefault(square.scale, {}).setdefault(square.orientation, []).append(square)
    orientations = list(dict.fromkeys(name for subbands in panels.values() for name in subbands)) or [None]
    rows = sorted(panels) or [1]
    height, width = image.shape[-2:]
    tall = _PANEL * height / width
    with context():
        drawing = Figure(figsize=(_PANEL * len(orientations), (tall + 0.25) * len(rows)), layout="constrained")
        grid = drawing.subplots(len(rows), len(orientations), squeeze=False)
        for row, scale in zip(grid, rows, strict=True):
            for ax, orientation in zip(row, orientations, strict=True):
                _show(ax, image)
                _draw(ax, panels.get(scale, {}).get(orientation, []))
                ax.set_title(f"{orientation}, 1:{scale}" if orientation else "pixels", loc="left")
    return drawing


def _show(ax: Axes, image: Tensor) -> None:
    """Show the image, pale enough to draw upon."""
    pixels = image.detach().cpu().float().clamp(0, 1)
    shown = pixels.movedim(0, -1) if len(pixels) == 3 else pixels.mean(0)
    ax.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1, alpha=0.75, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)


def _draw(ax: Axes, squares: Sequence[Square]) -> None:
    faint, strong, strokes = [], [], []
    for square in squares:
        top, left, side = square.pixels
        # Pixel (0, 0) reaches from -1/2 to 1/2.
        x, y = left - 0.5, top - 0.5
        outline = [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]
        if square.angle is None:
            faint.append(outline)
            continue
        strong.append(outline)
        angle = math.radians(square.angle)
        # Rows run downwards, angles against the clock.
        across, up = math.cos(angle) * side * _STROKE / 2, math.sin(angle) * side * _STROKE / 2
        middle = (x + side / 2, y + side / 2)
        strokes.append([(middle[0] - across, middle[1] + up), (middle[0] + across, middle[1] - up)])
    ax.add_collection(LineCollection(faint, colors=_OUTLINE, linewidths=0.4, alpha=0.5))
    ax.add_collection(LineCollection(strong, colors=_OUTLINE, linewidths=0.7))
    ax.add_collection(LineCollection(strokes, colors=_DIRECTION, linewidths=1.1))
