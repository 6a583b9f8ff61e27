"""Shorter markup of a figure that looks the same: no idle groups or space, shared attributes once, short names."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from collections import Counter

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
