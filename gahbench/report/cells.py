"""How a number looks in a table: few digits, a unit, a dash where it is unknown."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from gahbench._util import readable

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


def with_half_width(row: Mapping[Any, Any], name: str, sign: bool = False, digits: int = 2) -> str:
    """Write a value of the board with half the width of its interval, such as ``31.40 ±0.12``."""
    value = number(row.get(name), digits, sign)
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    if value == DASH or missing(low) or missing(high):
        return value
    return f"{value} ±{(float(high or 0) - float(low or 0)) / 2:.{digits}f}"


def between(row: Mapping[Any, Any], name: str, digits: int = 2, level: str = "") -> str:
    """Write a value of which only a bracket is known, its least and its most, such as ``0.80 to 1.31``.

    Where the value itself is known, it stands with half the width of its interval. ``level`` ends the names of the
    columns of one noise level.
    """
    least, most = row.get(f"{name}_min{level}"), row.get(f"{name}{level}")
    if missing(least) or missing(most):
        return with_half_width(row, f"{name}{level}", digits=digits)
    return f"{number(least, digits)} to {number(most, digits)}"


def count(value: Any) -> str:
    """Write how many, as :func:`gahbench._util.readable.count`."""
    return DASH if missing(value) else readable.count(int(value))


def duration(value: Any) -> str:
    """Write seconds, as :func:`gahbench._util.readable.duration`."""
    return DASH if missing(value) or not math.isfinite(float(value)) else readable.duration(float(value))


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
