"""The line and the marker of an entrant, as a legend of a page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gahbench.report.page.colours import variable

_DASHES = {"--": "5 2.5", ":": "1.5 2"}
_RADIUS = 3.6
_WHITE = "#ffffff"


def key_drawing(style: Mapping[str, Any], identifier: str) -> str:
    """Return the drawing of a look, as :func:`gahbench.report.figures.looks` gives them, for others to refer to."""
    from matplotlib.colors import to_hex
    from matplotlib.markers import MarkerStyle

    marker = MarkerStyle(style["marker"])
    outline = marker.get_path().transformed(marker.get_transform())
    polygons = [np.asarray(polygon, dtype=np.float64) * 2 * _RADIUS for polygon in outline.to_polygons()]
    shape = "".join(
        "M" + "L".join(f"{14 + x:.1f} {6 - y:.1f}" for x, y in polygon.tolist()) + "Z" for polygon in polygons
    )
    colour = variable(to_hex(style["color"]))
    face = variable(_WHITE if style["markerfacecolor"] == "white" else to_hex(style["markerfacecolor"]))
    dashes = f' stroke-dasharray="{dash}"' if (dash := _DASHES.get(style["linestyle"])) else ""
    paths = f'<path d="M0 6H28" stroke-width="1.6"{dashes}/><path d="{shape}"/>'
    return f'<g id="{identifier}" stroke="{colour}" fill="{face}">{paths}</g>'
