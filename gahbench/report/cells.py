"""Numbers, intervals and labels as text, for every table, figure and page."""

from __future__ import annotations

import base64
import hashlib
import math
import re

from gahbench.board.statistics import Interval

DASH = "–"
MINUS = "−"
#: Intervals whose centre deviates from the value by more than this share of their half width are shown by their ends.
_LARGEST_SKEW = 0.1


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """Format a number with a fixed number of decimals, never as ``-0.00``; ``None`` and NaN become a dash."""
    if value is None or math.isnan(value):
        return DASH
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", MINUS)


def format_interval(estimate: Interval, sign: bool = False, digits: int = 2) -> str:
    """Format a value with half the width of its interval, such as ``31.40 ±0.12``, or with its ends if it is skewed."""
    value = number(estimate.value, digits, sign)
    if value == DASH or math.isnan(estimate.low) or math.isnan(estimate.high):
        return value
    half_width, centre = (estimate.high - estimate.low) / 2, (estimate.high + estimate.low) / 2
    if abs(centre - estimate.value) > max(_LARGEST_SKEW * half_width, 10**-digits / 2):
        return f"{value} [{number(estimate.low, digits, sign)}, {number(estimate.high, digits, sign)}]"
    return f"{value} ±{half_width:.{digits}f}"


def between(low: Interval, high: Interval, digits: int = 2) -> str:
    """Format a value that is known between two limits, such as ``0.80 to 1.31``, or ``high`` if ``low`` is unknown."""
    if not (low.is_known and high.is_known):
        return format_interval(high, digits=digits)
    return f"{number(low.value, digits)} to {number(high.value, digits)}"


def seconds(value: float) -> str:
    """Format seconds with two significant digits, such as ``0.042`` or ``12``."""
    digits = 1 - math.floor(math.log10(value)) if value > 0 else 1
    return f"{round(value, digits):.{max(0, digits)}f}"


def rank(low: int | None, high: int | None, is_flagged: bool = False) -> str:
    """Format a rank and the upper end of its interval, such as ``1–3``, followed by ``!`` if the entrant is flagged."""
    text = DASH if low is None else str(low) if high in (None, low) else f"{low}–{high}"
    return text + ("!" if is_flagged else "")


def data_url(content: bytes, kind: str = "png") -> str:
    """Return a picture as a ``data:`` URL."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def fold_label(label: str, width: int) -> str:
    """Break a label into lines of at most ``width`` characters, at brackets, commas and spaces, or else in words."""
    lines = [""]
    for part in re.split(r"(?<=,)(?! )|(?<= )|(?=\[)", label):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
        lines[-1] += part
    folded = []
    for line in lines:
        while len(line) > width:
            end = max(line.rfind(mark, 0, width) + 1 for mark in "-._=") or width
            folded.append(line[:end])
            line = line[end:]
        folded.append(line)
    return "\n".join(folded)


def file_stems(labels: list[str]) -> dict[str, str]:
    """Return a file name, without suffix, for each label: safe, and unique regardless of case."""
    stems: dict[str, str] = {}
    used: set[str] = set()
    for label in dict.fromkeys(labels):
        stem = re.sub(r"[^A-Za-z0-9.=+-]+", "_", label).strip("_.")[:100] or "dataset"
        while stem.lower() in used:
            stem = f"{stem}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
        used.add(stem.lower())
        stems[label] = stem
    return stems
