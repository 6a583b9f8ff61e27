"""Figures of matplotlib inside a page: text as text, series as elements with their values, no styles.

A page whose policy admits no style but its own must have no ``style`` attribute: they become presentation attributes.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gahbench.report.encoding import encode
from gahbench.report.page import colours
from gahbench.report.page.compact import compact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FONT_SIZE = re.compile(r"([\d.]+)px")
#: Declarations that say what is so without them.
_DEFAULTS = {
    "stroke-dashoffset": "0",
    "stroke-linecap": "butt",
    "stroke-linejoin": "miter",
    "stroke-width": "1",
    "text-anchor": "start",
}


@dataclass(frozen=True)
class Series:
    """What an element of a figure shows."""

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


@dataclass(frozen=True)
class Drawn:
    """A figure as an element of a page, and where across in it the points of its series are."""

    svg: str
    places: Sequence[float]


def inline_svg(chart: Chart, number: int) -> Drawn:
    """Return a figure as an element of a page."""
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
    return Drawn(ET.tostring(root, encoding="unicode").replace(" />", "/>"), _places(chart, longest))


def _rewrite(node: ET.Element, kept: set[str], chart: Chart, places: Mapping[str, Sequence[float]]) -> None:
    """Give an element the names and the attributes that it has in HTML, and those of its series."""
    node.tag = _local(node.tag)
    attributes = {_local(name): value for name, value in node.attrib.items() if _local(name) != "style"}
    attributes |= _presentation(node.attrib.get("style", ""))
    identifier = attributes.get("id", "")
    if identifier not in kept:
        attributes.pop("id", None)
    # A rotation by nothing.
    if attributes.get("transform", "").startswith("rotate(-0"):
        del attributes["transform"]
    node.attrib = {
        name: colours.variable(value) if colours.is_colour(value) else value for name, value in attributes.items()
    }
    if (found := chart.series.get(identifier.removesuffix("-band"))) is not None:
        node.attrib |= {"class": "series"} | ({} if found.entrant is None else {"data-e": str(found.entrant)})
        if not identifier.endswith("-band"):
            node.attrib["data-v"] = "|".join(found.values)
            if found.points:
                node.attrib["data-at"] = " ".join(f"{place:g}" for place in places[identifier])
                node.attrib["data-x"] = "|".join(found.points)
            title = ET.Element("title")
            title.text = found.name
            node.insert(0, title)


def _places(chart: Chart, x: Sequence[float]) -> list[float]:
    """Return where points are in the SVG, across, once it is drawn."""
    if not x:
        return []
    (ax,) = chart.figure.axes
    # An SVG has 72 units to an inch.
    scale, y = 72 / chart.figure.dpi, ax.get_ylim()[0]
    return [round(scale * float(ax.transData.transform((one, y))[0]), 1) for one in x]


def _presentation(style: str) -> dict[str, str]:
    """Return the declarations of a style attribute as presentation attributes; the font's family is the page's."""
    found = {}
    for one in style.split(";"):
        name, _, value = (part.strip() for part in one.partition(":"))
        if name in ("font", "font-size"):
            size = _FONT_SIZE.search(value)
            found["font-size"] = size[1] if size else value
        elif name and name not in ("font-family", "stroke-linecap") and _DEFAULTS.get(name) != value:
            found[name] = value
    return found


def _referred(node: ET.Element) -> list[str]:
    """Return the identifiers that an element refers to."""
    found = re.findall(r"url\(#([^)]+)\)", " ".join(node.attrib.values()))
    return found + [value[1:] for name, value in node.attrib.items() if _local(name) == "href" and value[:1] == "#"]


def _local(name: str) -> str:
    """Return a name without its namespace."""
    return name.rpartition("}")[2]
