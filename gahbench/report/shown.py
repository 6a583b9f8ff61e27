"""Figures that a notebook shows, whether or not pyplot was imported; imported where one is drawn."""

from __future__ import annotations

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A figure of matplotlib that is shown where a notebook's cell ends with it."""

    def _repr_png_(self) -> bytes:
        from gahbench.report.encoding import encode

        return encode(self, ".png", dpi=110, bbox_inches="tight", pad_inches=0.06)
