"""How a number looks in a table: few digits, a unit, a dash where it is unknown."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

DASH = "–"
MINUS = "−"


def missing(value: Any) -> bool:
    """Return whether a cell of a DataFrame holds nothing."""
    return value is None or str(value) in ("<NA>", "nan", "NaT", "")


def number(value: Any, digits: int = 2, sign: bool = False) -> str:
    """Write a number with a fixed count of decimals, never as ``-0.00``."""
    if missing(value):
        return DASH
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    zero = float(text) == 0
    return text.lstrip("+-") if zero else text.replace("-", MINUS)


def with_half_width(row: Mapping[Any, Any], name: str, sign: bool = False) -> str:
    """Write a value of the board with half the width of its interval, such as ``31.40 ±0.12``."""
    value = number(row.get(name), sign=sign)
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    if value == DASH or missing(low) or missing(high):
        return value
    return f"{value} ±{(float(high or 0) - float(low or 0)) / 2:.2f}"


def count(value: Any) -> str:
    """Write how many, to two or three digits: ``7.6 M``, ``92 k``, ``840``."""
    if missing(value):
        return DASH
    size = int(value)
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        # 999 600 rounds to a thousand thousands, which is a million.
        if size >= unit * (0.9995 if unit > 1000 else 1):
            scaled = size / unit
            return f"{scaled:.1f} {name}" if scaled < 9.95 else f"{scaled:.0f} {name}"
    return str(size)


def duration(value: Any) -> str:
    """Write seconds as ``8.3 s``, ``1 min 12 s``, ``2 h 05 min``, ``3 d 04 h``."""
    if missing(value) or not math.isfinite(float(value)):
        return DASH
    if value < 9.95:
        return f"{value:.1f} s"
    seconds = round(value)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    minutes = round(value / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(value / 3600)
    return f"{hours // 24} d {hours % 24:02d} h"


def rank(value: Any, tied: bool) -> str:
    """Write a rank, with ``=`` behind one that is shared."""
    return DASH if missing(value) else f"{int(value)}{'=' if tied else ''}"


def folded(label: str, width: int) -> str:
    """Break a label into lines of at most ``width`` characters, at brackets and commas if possible."""
    lines = [""]
    for part in re.split(r"(?<=,)|(?=\[)", label):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line[start : start + width] for line in lines for start in range(0, len(line), width))
