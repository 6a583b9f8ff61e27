"""Figures of matplotlib inside a page: text as text, series as elements with their values, colours as variables.

The policy of pages admits no ``style`` attribute, so that styles become presentation attributes. Colours are variables,
which differ between light and dark screens.
"""

from __future__ import annotations

import colorsys
import itertools
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle

from gahbench.report.drawing import encode

#: The background of the page on light and on dark screens.
LIGHT, DARK = "#ffffff", "#15181c"
_LEAST_CONTRAST = 3.0  # WCAG 2.1, success criterion 1.4.11, of graphics
_HEX = re.compile("#[0-9a-f]{6}")
_DASHES = {"--": "5 2.5", ":": "1.5 2"}
_RADIUS = 3.6  # of the markers of a legend
_FONT_SIZE = re.compile(r"([\d.]+)px")
#: Declarations of default values.
_DEFAULTS = {
    "stroke-dashoffset": "0",
    "stroke-linecap": "butt",
    "stroke-linejoin": "miter",
    "stroke-width": "1",
    "text-anchor": "start",
}
_NUMBER = re.compile(r"-?\d+\.\d+")
_LINES = re.compile(r"M-?[\d.]+ -?[\d.]+(?:L-?[\d.]+ -?[\d.]+)+z?")
_COMMANDS = re.compile(r"\s*([A-Za-z])\s*")
#: Attributes that hold lengths, which are rounded to a tenth.
_LENGTHS = ("d", "x", "y", "x1", "y1", "x2", "y2", "transform", "width", "height", "stroke-width", "stroke-dasharray")
#: Attributes that elements inherit from their group, or that can be applied to the whole group.
_SHARED = (
    "clip-path", "fill", "fill-opacity", "font-size", "stroke", "stroke-dasharray", "stroke-dashoffset",
    "stroke-linecap", "stroke-linejoin", "stroke-opacity", "stroke-width", "text-anchor",
)  # fmt: skip


@dataclass(frozen=True)
class Series:
    """The values of a curve of a figure."""

    name: str
    x: Sequence[float]
    values: Sequence[str]
    entrant: int | None = None
    points: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure of a page."""

    figure: Figure
    title: str
    series: Mapping[str, Series] = field(default_factory=dict)
    points: Sequence[str] = ()
    note: str = ""
    unit: str = ""


def inline_svg(chart: Chart, number: int) -> tuple[str, list[float]]:
    """Return a figure as an element of a page, and the horizontal positions of the points of its series in it."""
    for patch in (chart.figure.patch, *(ax.patch for ax in chart.figure.axes)):
        patch.set_visible(False)
    root = ET.fromstring(encode(chart.figure, ".svg", as_text=True))
    longest = max((one.x for one in chart.series.values()), key=len, default=())
    places = {name: _places(chart, one.x) for name, one in chart.series.items()}
    kept = {identifier for node in root.iter() for identifier in _referred(node)}
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style", "title"):
                parent.remove(child)
    for node in root.iter():
        _rewrite(node, kept, chart, places)
    view = root.attrib["viewBox"]
    compact(root, f"f{number}-")
    root.attrib = {"viewBox": view, "role": "img", "aria-label": " ".join(f"{chart.title} {chart.note}".split())}
    return ET.tostring(root, encoding="unicode").replace(" />", "/>"), _places(chart, longest)


def _rewrite(node: ET.Element, kept: set[str], chart: Chart, places: Mapping[str, Sequence[float]]) -> None:
    """Give an element the names and the attributes that it has in HTML, and those of its series."""
    node.tag = _local(node.tag)
    attributes = {_local(name): value for name, value in node.attrib.items() if _local(name) != "style"}
    attributes |= _presentation(node.attrib.get("style", ""))
    identifier = attributes.get("id", "")
    if identifier not in kept:
        attributes.pop("id", None)
    # Drop rotations by zero.
    if attributes.get("transform", "").startswith("rotate(-0"):
        del attributes["transform"]
    node.attrib = {name: variable(value) if _HEX.fullmatch(value) else value for name, value in attributes.items()}
    if (series := chart.series.get(identifier.removesuffix("-band"))) is not None:
        node.attrib |= {"class": "series"} | ({} if series.entrant is None else {"data-e": str(series.entrant)})
        if not identifier.endswith("-band"):
            node.attrib["data-v"] = "|".join(series.values)
            if series.points:
                node.attrib["data-at"] = " ".join(f"{place:g}" for place in places[identifier])
                node.attrib["data-x"] = "|".join(series.points)
            title = ET.Element("title")
            title.text = series.name
            node.insert(0, title)


def _places(chart: Chart, x: Sequence[float]) -> list[float]:
    """Return the horizontal positions of points in the SVG, once it is drawn."""
    if not x:
        return []
    (ax,) = chart.figure.axes
    # An SVG has 72 units to an inch.
    scale, y = 72 / chart.figure.dpi, ax.get_ylim()[0]
    return [round(scale * float(ax.transData.transform((one, y))[0]), 1) for one in x]


def _presentation(style: str) -> dict[str, str]:
    """Return the declarations of a style attribute as presentation attributes, without the family of the font."""
    attributes = {}
    for declaration in style.split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name in ("font", "font-size"):
            size = _FONT_SIZE.search(value)
            attributes["font-size"] = size[1] if size else value
        elif name and name not in ("font-family", "stroke-linecap") and _DEFAULTS.get(name) != value:
            attributes[name] = value
    return attributes


def _referred(node: ET.Element) -> list[str]:
    """Return the identifiers that an element refers to."""
    found = re.findall(r"url\(#([^)]+)\)", " ".join(node.attrib.values()))
    return found + [value[1:] for name, value in node.attrib.items() if _local(name) == "href" and value[:1] == "#"]


def _local(name: str) -> str:
    """Return a name without its namespace."""
    return name.rpartition("}")[2]


def compact(root: ET.Element, prefix: str) -> None:
    """Shorten a figure in place."""
    _unwrap(root)
    _put_in_place(root)
    short: dict[str, str] = {}
    for node in root.iter():
        if node.tag not in ("text", "tspan", "title"):
            node.text = None
        node.tail = None if node.tag != "tspan" else node.tail
        for name in _LENGTHS:
            if name in node.attrib:
                node.attrib[name] = _NUMBER.sub(_tenths, node.attrib[name])
        if "d" in node.attrib:
            node.attrib["d"] = _relative(_COMMANDS.sub(r"\1", node.attrib["d"]).strip())
        if "id" in node.attrib:
            node.attrib["id"] = short.setdefault(node.attrib["id"], f"{prefix}{len(short)}")
    for node in root.iter():
        for name, value in node.attrib.items():
            if name == "href" and value[1:] in short:
                node.attrib[name] = f"#{short[value[1:]]}"
            elif value.startswith("url(#") and value[5:-1] in short:
                node.attrib[name] = f"url(#{short[value[5:-1]]})"
    _hoist(root)
    _gather(root)


def _unwrap(node: ET.Element) -> None:
    """Replace groups without attributes by their children, and drop empty groups."""
    children: list[ET.Element] = []
    for child in node:
        _unwrap(child)
        if child.tag in ("g", "defs") and not len(child):
            continue
        children.extend(child if child.tag == "g" and not child.attrib else [child])
    node[:] = children


def _put_in_place(root: ET.Element) -> None:
    """Replace the only reference to the definition of a band by the band itself."""
    uses = Counter(node.attrib["href"][1:] for node in root.iter("use"))
    shapes = ((defs, one) for defs in root.iter("defs") for one in defs)
    defined = {one.attrib["id"]: (defs, one) for defs, one in shapes if uses[one.attrib.get("id", "")] == 1}
    # Markers remain references: each of them is a value.
    for node in [one for one in root.iter("use") if "fill-opacity" in one.attrib and one.attrib["href"][1:] in defined]:
        defs, shape = defined[node.attrib.pop("href")[1:]]
        defs.remove(shape)
        x, y = (float(node.attrib.pop(axis, "0")) for axis in "xy")
        node.tag = "path"
        node.attrib = {"d": shape.attrib["d"], "transform": f"translate({x:.1f} {y:.1f})", **node.attrib}
    _unwrap(root)


def _gather(root: ET.Element) -> None:
    """Put successive series with the same clip path into one group that has it."""
    children: list[ET.Element] = []
    for child in root:
        clip = child.attrib.get("clip-path") if child.tag == "g" else None
        if clip is None or "series" not in child.attrib.get("class", ""):
            children.append(child)
            continue
        if not children or children[-1].attrib != {"clip-path": clip}:
            children.append(ET.Element("g", {"clip-path": clip}))
        del child.attrib["clip-path"]
        children[-1].append(child)
    root[:] = children


def _hoist(node: ET.Element) -> None:
    """Move attributes that all children of a group share to the group, from which they inherit them."""
    for child in node:
        _hoist(child)
    if node.tag != "g" or len(node) < 2:
        return
    drawn = [child for child in node if child.tag not in ("defs", "title")]
    for name in _SHARED:
        values = {child.attrib.get(name) for child in drawn}
        if len(values) == 1 and None not in values and name not in node.attrib:
            node.attrib[name] = values.pop() or ""
            for child in drawn:
                del child.attrib[name]


def _relative(path: str) -> str:
    """Return a path of straight lines with relative steps, in tenths; other paths are unchanged."""
    if not _LINES.fullmatch(path):
        return path
    closed = path.endswith("z")
    points = [[round(10 * float(number)) for number in point.split()] for point in path.strip("Mz").split("L")]
    steps = [(x - before_x, y - before_y) for (before_x, before_y), (x, y) in itertools.pairwise(points)]
    head = " ".join(f"{number / 10:g}" for number in points[0])
    tail = "".join(f"{' ' if step >= 0 else ''}{step / 10:g}" for both in steps for step in both).strip()
    return f"M{head}l{tail}{'z' if closed else ''}"


def _tenths(number: re.Match[str]) -> str:
    text = f"{float(number[0]):.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def variable(colour: str) -> str:
    """Return the variable of a colour such as ``#0173b2``."""
    return f"var(--c{colour[1:]})"


def declarations(colours: Iterable[str]) -> tuple[str, str]:
    """Return the declarations of the variables of some colours, for light and for dark screens."""
    ordered = sorted(set(colours))
    light = ";".join(f"--c{colour[1:]}:{colour}" for colour in ordered)
    return light, ";".join(f"--c{colour[1:]}:{_dark(colour)}" for colour in ordered)


def colours_in(markup: str) -> set[str]:
    """Return the colours whose variables a markup uses."""
    return {f"#{digits}" for digits in re.findall(r"var\(--c([0-9a-f]{6})\)", markup)}


def _dark(colour: str) -> str:
    red, green, blue = to_rgb(colour)
    if red == green == blue:
        # Greys are inverted: white becomes the dark background, and black white.
        r, g, b = (low + (1 - low) * (1 - red) for low in to_rgb(DARK))
        return to_hex((r, g, b))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    while contrast(colour, DARK) < _LEAST_CONTRAST and light < 1:
        light = min(1.0, light + 0.02)
        colour = to_hex(colorsys.hls_to_rgb(hue, light, saturation))
    return colour


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21 (WCAG 2.1)."""
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def key_drawing(style: Mapping[str, Any], identifier: str) -> str:
    """Return the drawing of a look, as :func:`gahbench.report.drawing.looks` gives them, for legends to refer to."""
    marker = MarkerStyle(style["marker"])
    outline = marker.get_path().transformed(marker.get_transform())
    polygons = [np.asarray(polygon, dtype=np.float64) * 2 * _RADIUS for polygon in outline.to_polygons()]
    shape = "".join(
        "M" + "L".join(f"{14 + x:.1f} {6 - y:.1f}" for x, y in polygon.tolist()) + "Z" for polygon in polygons
    )
    colour = variable(to_hex(style["color"]))
    face = variable(to_hex(style["markerfacecolor"]))
    dashes = f' stroke-dasharray="{dash}"' if (dash := _DASHES.get(style["linestyle"])) else ""
    paths = f'<path d="M0 6H28" stroke-width="1.6"{dashes}/><path d="{shape}"/>'
    return f'<g id="{identifier}" stroke="{colour}" fill="{face}">{paths}</g>'
