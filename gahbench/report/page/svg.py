"""Figures of matplotlib inside a page: text as text, series as elements with their values, no styles.

A page whose policy admits no style but its own must have no ``style`` attribute: they become presentation attributes.
"""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from gahbench.report.drawing import encode
from gahbench.report.page import colours

_FONT_SIZE = re.compile(r"([\d.]+)px")
#: Declarations that say what is so without them.
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
#: What elements inherit from the group that they are in, or can be done to all of it.
_SHARED = (
    "clip-path", "fill", "fill-opacity", "font-size", "stroke", "stroke-dasharray", "stroke-dashoffset",
    "stroke-linecap", "stroke-linejoin", "stroke-opacity", "stroke-width", "text-anchor",
)  # fmt: skip


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
    """Put the children of groups without attributes in their place, and drop what is empty."""
    children: list[ET.Element] = []
    for child in node:
        _unwrap(child)
        if child.tag in ("g", "defs") and not len(child):
            continue
        children.extend(child if child.tag == "g" and not child.attrib else [child])
    node[:] = children


def _put_in_place(root: ET.Element) -> None:
    """Draw a band where it is used, which is once."""
    uses = Counter(node.attrib["href"][1:] for node in root.iter("use"))
    shapes = ((defs, one) for defs in root.iter("defs") for one in defs)
    defined = {one.attrib["id"]: (defs, one) for defs, one in shapes if uses[one.attrib.get("id", "")] == 1}
    # Markers stay what they are: each is a value.
    for node in [one for one in root.iter("use") if "fill-opacity" in one.attrib and one.attrib["href"][1:] in defined]:
        defs, shape = defined[node.attrib.pop("href")[1:]]
        defs.remove(shape)
        x, y = (float(node.attrib.pop(axis, "0")) for axis in "xy")
        node.tag = "path"
        node.attrib = {"d": shape.attrib["d"], "transform": f"translate({x:.1f} {y:.1f})", **node.attrib}
    _unwrap(root)


def _gather(root: ET.Element) -> None:
    """Cut all series that follow each other, and are cut alike, at once."""
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
    """Give a group the attributes that all its children share, and they inherit."""
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
    """Return a path with steps from point to point, where it is one of straight lines, in tenths."""
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
