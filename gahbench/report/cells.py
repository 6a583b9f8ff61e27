"""Formatting of numbers in tables: few digits, a unit, a dash where unknown."""

from __future__ import annotations

import hashlib
import math
import re

from gahbench._util import readable
from gahbench.board.statistics import Estimate

DASH = "–"
MINUS = "−"


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """Write a number with a fixed count of decimals, never as ``-0.00``; ``None`` and NaN as a dash."""
    if value is None or math.isnan(value):
        return DASH
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    zero = float(text) == 0
    return text.lstrip("+-") if zero else text.replace("-", MINUS)


def with_half_width(estimate: Estimate, sign: bool = False, digits: int = 2) -> str:
    """Write a value of the board with half the width of its interval, such as ``31.40 ±0.12``."""
    value = number(estimate.value, digits, sign)
    if value == DASH or math.isnan(estimate.low) or math.isnan(estimate.high):
        return value
    return f"{value} ±{(estimate.high - estimate.low) / 2:.{digits}f}"


def between(low: Estimate, high: Estimate, digits: int = 2) -> str:
    """Write a value of which only a bracket is known, by its two ends, such as ``0.80 to 1.31``."""
    if not (low.is_known and high.is_known):
        return with_half_width(high, digits=digits)
    return f"{number(low.value, digits)} to {number(high.value, digits)}"


def count(value: int | None) -> str:
    """Write how many, as :func:`gahbench._util.readable.count`."""
    return DASH if value is None else readable.count(value)


def duration(value: float) -> str:
    """Write seconds, as :func:`gahbench._util.readable.duration`."""
    return readable.duration(value) if math.isfinite(value) else DASH


def rank(low: int | None, high: int | None, marked: bool = False) -> str:
    """Write a rank with the end of its interval, such as ``1–3``, and ``!`` behind that of a marked entrant."""
    text = DASH if low is None else str(low) if high in (None, low) else f"{low}–{high}"
    return text + ("!" if marked else "")


def folded(label: str, width: int) -> str:
    """Break a label into lines of at most ``width`` characters, at brackets and commas if possible."""
    lines = [""]
    for part in re.split(r"(?<=,)|(?=\[)", label):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line[start : start + width] for line in lines for start in range(0, len(line), width))


def file_stems(labels: list[str]) -> dict[str, str]:
    """Return a file name, without suffix, for each label: safe, and unique regardless of case."""
    stems: dict[str, str] = {}
    for label in labels:
        stem = re.sub(r"[^A-Za-z0-9.=+-]+", "_", label).strip("_.")[:100] or "dataset"
        stems[label] = stem
    lowered = [stem.lower() for stem in stems.values()]
    used: set[str] = set()
    for label, stem in stems.items():
        if lowered.count(stem.lower()) > 1:
            stem = f"{stem}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
        # A label may be chosen to be what another becomes.
        while stem.lower() in used:
            stem += "_"
        used.add(stem.lower())
        stems[label] = stem
    return stems
