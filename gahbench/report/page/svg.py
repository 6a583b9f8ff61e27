"""Figures of matplotlib as SVG elements of a page.

Text stays text, series hold their values, and colours become CSS variables, which differ between light and dark
screens. The content security policy of pages forbids ``style`` attributes, so styles become presentation attributes.
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
_MIN_CONTRAST = 4.5  # for the labels of curves, by success criterion 1.4.3 of WCAG 2.1
_HEX = re.compile("#[0-9a-f]{6}")
_DASHES = {"--": "5 2.5", ":": "1.5 2"}
_RADIUS = 3.6  # of the markers of a legend
_FONT_SIZE = re.compile(r"([\d.]+)px")
#: Default values of presentation attributes; declarations of these values are dropped.
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
#: Attributes with lengths, which are rounded to a tenth.
_LENGTHS = ("d", "x", "y", "x1", "y1", "x2", "y2", "transform", "width", "height", "stroke-width", "stroke-dasharray")
#: Attributes that elements inherit from their group, or that have the same effect on the group.
_SHARED = (
    "clip-path", "fill", "fill-opacity", "font-size", "stroke", "stroke-dasharray", "stroke-dashoffset",
    "stroke-linecap", "stroke-linejoin", "stroke-opacity", "stroke-width", "text-anchor",
)  # fmt: skip


@dataclass(frozen=True)
class Series:
    """A curve of a figure: its name, values, index of its entrant, and labels of its points."""

    name: str
    x: Sequence[float]
    values: Sequence[str]
    entrant: int | None = None
    points: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure of a page, with its series by ``id`` and the common labels of their points."""

    figure: Figure
    title: str
    series: Mapping[str, Series] = field(default_factory=dict)
    points: Sequence[str] = ()
    note: str = ""
    unit: str = ""


def inline_svg(chart: Chart, number: int) -> tuple[str, list[float]]:
    """Return a figure as an SVG element, and the horizontal positions of the points of its longest series."""
    for patch in (chart.figure.patch, *(ax.patch for ax in chart.figure.axes)):
        patch.set_visible(False)
    root = ET.fromstring(encode(chart.figure, ".svg", as_text=True))
    longest = max((series.x for series in chart.series.values()), key=len, default=())
    positions = {name: _point_positions(chart, series.x) for name, series in chart.series.items()}
    kept_ids = {identifier for node in root.iter() for identifier in _referenced_ids(node)}
    for parent in list(root.iter()):
        for child in list(parent):
            if _local_name(child.tag) in ("metadata", "style", "title"):
                parent.remove(child)
    for node in root.iter():
        _rewrite(node, kept_ids, chart, positions)
    view = root.attrib["viewBox"]
    compact(root, f"f{number}-")
    root.attrib = {"viewBox": view, "role": "img", "aria-label": " ".join(f"{chart.title} {chart.note}".split())}
    return ET.tostring(root, encoding="unicode").replace(" />", "/>"), _point_positions(chart, longest)


def _rewrite(node: ET.Element, kept_ids: set[str], chart: Chart, positions: Mapping[str, Sequence[float]]) -> None:
    """Convert an element for use in HTML, and add the values of its series."""
    node.tag = _local_name(node.tag)
    attributes = {_local_name(name): value for name, value in node.attrib.items() if _local_name(name) != "style"}
    attributes |= _presentation(node.attrib.get("style", ""))
    identifier = attributes.get("id", "")
    if identifier not in kept_ids:
        attributes.pop("id", None)
    # Drop rotations by zero.
    if attributes.get("transform", "").startswith("rotate(-0"):
        del attributes["transform"]
    node.attrib = {name: css_variable(value) if _HEX.fullmatch(value) else value for name, value in attributes.items()}
    if (series := chart.series.get(identifier.removesuffix("-band").removesuffix("-label"))) is not None:
        node.attrib |= {"class": "series"} | ({} if series.entrant is None else {"data-e": str(series.entrant)})
        if not identifier.endswith(("-band", "-label")):
            node.attrib["data-v"] = "|".join(series.values)
            if series.points:
                node.attrib["data-at"] = " ".join(f"{position:g}" for position in positions[identifier])
                node.attrib["data-x"] = "|".join(series.points)
            title = ET.Element("title")
            title.text = series.name
            node.insert(0, title)


def _point_positions(chart: Chart, x: Sequence[float]) -> list[float]:
    """Return the horizontal positions of points in the SVG of a drawn figure."""
    if not x:
        return []
    (ax,) = chart.figure.axes
    # SVG files of matplotlib have 72 units per inch.
    scale, y = 72 / chart.figure.dpi, ax.get_ylim()[0]
    return [round(scale * float(ax.transData.transform((value, y))[0]), 1) for value in x]


def _presentation(style: str) -> dict[str, str]:
    """Return the declarations of a style attribute as presentation attributes, without the font family."""
    attributes = {}
    for declaration in style.split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name in ("font", "font-size"):
            size = _FONT_SIZE.search(value)
            attributes["font-size"] = size[1] if size else value
        elif name and name not in ("font-family", "stroke-linecap") and _DEFAULTS.get(name) != value:
            attributes[name] = value
    return attributes


def _referenced_ids(node: ET.Element) -> list[str]:
    """Return the ids that an element refers to."""
    ids = re.findall(r"url\(#([^)]+)\)", " ".join(node.attrib.values()))
    return ids + [value[1:] for name, value in node.attrib.items() if _local_name(name) == "href" and value[:1] == "#"]


def _local_name(name: str) -> str:
    """Return a name without its namespace."""
    return name.rpartition("}")[2]


def compact(root: ET.Element, prefix: str) -> None:
    """Shorten the markup of a figure in place."""
    _unwrap(root)
    _inline_bands(root)
    short: dict[str, str] = {}
    for node in root.iter():
        if node.tag not in ("text", "tspan", "title"):
            node.text = None
        node.tail = None if node.tag != "tspan" else node.tail
        for name in _LENGTHS:
            if name in node.attrib:
                node.attrib[name] = _NUMBER.sub(_round_to_tenth, node.attrib[name])
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
    _hoist_attributes(root)
    _group_by_clip_path(root)


def _unwrap(node: ET.Element) -> None:
    """Replace groups without attributes by their children, and remove empty groups."""
    children: list[ET.Element] = []
    for child in node:
        _unwrap(child)
        if child.tag in ("g", "defs") and not len(child):
            continue
        children.extend(child if child.tag == "g" and not child.attrib else [child])
    node[:] = children


def _inline_bands(root: ET.Element) -> None:
    """Replace the reference to a band by the band itself if it is referenced only once."""
    uses = Counter(node.attrib["href"][1:] for node in root.iter("use"))
    all_shapes = ((defs, shape) for defs in root.iter("defs") for shape in defs)
    defined = {shape.attrib["id"]: (defs, shape) for defs, shape in all_shapes if uses[shape.attrib.get("id", "")] == 1}
    # References to markers stay, since each is a point of a series.
    bands = [use for use in root.iter("use") if "fill-opacity" in use.attrib and use.attrib["href"][1:] in defined]
    for node in bands:
        defs, shape = defined[node.attrib.pop("href")[1:]]
        defs.remove(shape)
        x, y = (float(node.attrib.pop(axis, "0")) for axis in "xy")
        node.tag = "path"
        node.attrib = {"d": shape.attrib["d"], "transform": f"translate({x:.1f} {y:.1f})", **node.attrib}
    _unwrap(root)


def _group_by_clip_path(root: ET.Element) -> None:
    """Move successive series with the same clip path into a group with that clip path."""
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


def _hoist_attributes(node: ET.Element) -> None:
    """Move attributes that all children of a group share to the group."""
    for child in node:
        _hoist_attributes(child)
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
    """Return a path of straight lines with relative coordinates, rounded to tenths; other paths are unchanged."""
    if not _LINES.fullmatch(path):
        return path
    is_closed = path.endswith("z")
    points = [[round(10 * float(number)) for number in point.split()] for point in path.strip("Mz").split("L")]
    steps = [(x - previous_x, y - previous_y) for (previous_x, previous_y), (x, y) in itertools.pairwise(points)]
    head = " ".join(f"{number / 10:g}" for number in points[0])
    tail = "".join(f"{' ' if step >= 0 else ''}{step / 10:g}" for both in steps for step in both).strip()
    return f"M{head}l{tail}{'z' if is_closed else ''}"


def _round_to_tenth(number: re.Match[str]) -> str:
    text = f"{float(number[0]):.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def css_variable(colour: str) -> str:
    """Return the CSS variable of a colour such as ``#0173b2``."""
    return f"var(--c{colour[1:]})"


def css_declarations(colours: Iterable[str]) -> tuple[str, str]:
    """Return the declarations of the CSS variables of colours, for light and for dark screens."""
    ordered = sorted(set(colours))
    light = ";".join(f"--c{colour[1:]}:{colour}" for colour in ordered)
    return light, ";".join(f"--c{colour[1:]}:{_dark(colour)}" for colour in ordered)


def colours_in(markup: str) -> set[str]:
    """Return the colours whose CSS variables are used in some markup."""
    return {f"#{digits}" for digits in re.findall(r"var\(--c([0-9a-f]{6})\)", markup)}


def _dark(colour: str) -> str:
    red, green, blue = to_rgb(colour)
    if red == green == blue:
        # Greys are inverted: white becomes the dark background, and black white.
        r, g, b = (low + (1 - low) * (1 - red) for low in to_rgb(DARK))
        return to_hex((r, g, b))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    while contrast(colour, DARK) < _MIN_CONTRAST and light < 1:
        light = min(1.0, light + 0.02)
        colour = to_hex(colorsys.hls_to_rgb(hue, light, saturation))
    return colour


def contrast(colour: str, other_colour: str) -> float:
    """Return the contrast of two colours, from 1 to 21 (WCAG 2.1)."""
    bright, dim = sorted((_luminance(colour), _luminance(other_colour)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def key_drawing(style: Mapping[str, Any], identifier: str) -> str:
    """Return the SVG group of a plot style (:func:`gahbench.report.drawing.entrant_styles`), to which legends refer."""
    marker = MarkerStyle(style["marker"])
    outline = marker.get_path().transformed(marker.get_transform())
    polygons = [np.asarray(polygon, dtype=np.float64) * 2 * _RADIUS for polygon in outline.to_polygons()]
    shape = "".join(
        "M" + "L".join(f"{14 + x:.1f} {6 - y:.1f}" for x, y in polygon.tolist()) + "Z" for polygon in polygons
    )
    colour = css_variable(to_hex(style["color"]))
    face = css_variable(to_hex(style["markerfacecolor"]))
    dashes = f' stroke-dasharray="{dash}"' if (dash := _DASHES.get(style["linestyle"])) else ""
    paths = f'<path d="M0 6H28" stroke-width="1.6"{dashes}/><path d="{shape}"/>'
    return f'<g id="{identifier}" stroke="{colour}" fill="{face}">{paths}</g>'
