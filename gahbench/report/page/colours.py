"""Colours of figures as variables of a page, for light and for dark screens, and the keys of its legend."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.markers import MarkerStyle

#: Of the page.
LIGHT, DARK = "#ffffff", "#15181c"
_FAINTEST = 3.0  # WCAG 2.1, success criterion 1.4.11, of graphics
_HEX = re.compile("#[0-9a-f]{6}")
_DASHES = {"--": "5 2.5", ":": "1.5 2"}
_RADIUS = 3.6
_WHITE = "#ffffff"


def variable(colour: str) -> str:
    """Return the variable of a colour such as ``#0173b2``."""
    return f"var(--c{colour[1:]})"


def declarations(colours: Iterable[str]) -> tuple[str, str]:
    """Return the declarations of the variables of some colours, for light and for dark screens."""
    ordered = sorted(set(colours))
    light = ";".join(f"--c{colour[1:]}:{colour}" for colour in ordered)
    return light, ";".join(f"--c{colour[1:]}:{_dark(colour)}" for colour in ordered)


def found_in(markup: str) -> set[str]:
    """Return the colours whose variables a markup uses."""
    return {f"#{digits}" for digits in re.findall(r"var\(--c([0-9a-f]{6})\)", markup)}


def is_colour(value: str) -> bool:
    """Whether a value is a colour of six digits."""
    return _HEX.fullmatch(value) is not None


def _dark(colour: str) -> str:
    red, green, blue = _channels(colour)
    if red == green == blue:
        # White is the ground, and black white.
        return _written(low + (1 - low) * (1 - red) for low in _channels(DARK))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    while contrast(colour, DARK) < _FAINTEST and light < 1:
        light = min(1.0, light + 0.02)
        colour = _written(colorsys.hls_to_rgb(hue, light, saturation))
    return colour


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21 (WCAG 2.1)."""
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in _channels(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue


def _written(channels: Iterable[float]) -> str:
    return "#" + "".join(f"{round(255 * value):02x}" for value in channels)


def key_drawing(style: Mapping[str, Any], identifier: str) -> str:
    """Return the drawing of a look, as :func:`gahbench.report.figures.looks` gives them, for others to refer to."""
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
