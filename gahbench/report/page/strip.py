"""Strips of dots: a line for each dataset, on a common scale, with a dot for each entrant.

Positions are percentages, so that texts keep their size on narrow screens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from gahbench.report.cells import number
from gahbench.report.finding import shorten

_MARGIN = 2.5  # of a line, in percent
_NARROW = 320.0  # width in pixels for which labels are placed
_CHARACTER = 7.0  # mean width in pixels
_SHORTEST, _LONGEST = 8, 30  # names in labels, in characters
_ROW = 15  # height of a row of labels in pixels
_RADIUS, _SMALL = 5.5, 3.8


@dataclass(frozen=True)
class Dot:
    """A dot of a strip: its value, the ends of its bar if it has one, and its number among the highlighted dots.

    ``highlight`` is 1 to 6 for dots with a colour and a label, and 0 for grey dots.
    """

    name: str
    value: float
    bar: tuple[float, float] | None = None
    highlight: int = 0
    is_hollow: bool = False
    text: str = ""


@dataclass(frozen=True)
class Line:
    """A line of a strip: its title, a note on it, and its dots."""

    title: str
    note: str
    dots: Sequence[Dot]


def draw_strip(lines: Sequence[Line], low: float, high: float, unit: str) -> Markup:
    """Draw lines of dots between two values; dots beyond them are drawn at the end of their line.

    Parameters
    ----------
    lines
        The lines, drawn from top to bottom.
    low, high
        The ends of the scale.
    unit
        The meaning and unit of the scale, written below it.

    Returns
    -------
    Markup
        HTML with an inline SVG for each line.
    """
    ticks = ticks_between(low, high)
    drawn = Markup("").join(_draw_line(line, low, high, ticks) for line in lines)
    labels = Markup("").join(
        Markup('<text x="{}%" y="11" class="middle">{}</text>').format(
            _percent(tick, low, high), number(tick, _digits(ticks))
        )
        for tick in ticks
    )
    scale = Markup(
        '<div class="titled"><span></span><svg class="line scale" width="100%" height="14" aria-hidden="true">{}</svg>'
        '<p class="note">{}</p></div>'
    ).format(labels, unit)
    return Markup('<div class="dots">{}{}</div>').format(drawn, scale)


def ticks_between(low: float, high: float) -> list[float]:
    """Return about six round numbers between two values, in ascending order."""
    rough = (high - low) / 6
    magnitude = 10.0 ** np.floor(np.log10(rough))
    step = magnitude * next(factor for factor in (1, 2, 3, 5, 10) if factor * magnitude >= rough * 0.999)
    first = int(np.ceil(low / step - 1e-9))
    return [float(step * index) for index in range(first, int(np.floor(high / step + 1e-9)) + 1)]


def _digits(ticks: Sequence[float]) -> int:
    return next((digits for digits in range(3) if all(abs(tick - round(tick, digits)) < 1e-9 for tick in ticks)), 3)


def _percent(value: float, low: float, high: float) -> float:
    share = min(1.0, max(0.0, (value - low) / (high - low)))
    return round(_MARGIN + (100 - 2 * _MARGIN) * share, 2)


def _draw_line(line: Line, low: float, high: float, ticks: Sequence[float]) -> Markup:
    positions = _place_labels(line.dots, low, high)
    above = max([row for row, *_ in positions.values() if row > 0], default=0)
    below = max([-row for row, *_ in positions.values() if row < 0], default=0)
    middle = above * _ROW + 9
    height = middle + 9 + below * _ROW
    parts = [
        Markup('<line x1="{0}%" x2="{0}%" y1="0" y2="{1}" class="{2}"/>').format(
            _percent(tick, low, high), height, "zero" if tick == 0 else "tick"
        )
        for tick in ticks
    ]
    ends = _percent(low, low, high), _percent(high, low, high)
    parts.append(Markup('<line x1="{0}%" x2="{1}%" y1="{2}" y2="{2}" class="axis"/>').format(*ends, middle))
    # Highlighted dots are drawn on top.
    ordered = sorted(line.dots, key=lambda dot: dot.highlight > 0)
    parts.extend(_draw_dot(dot, low, high, middle) for dot in ordered)
    for index, (row, anchor, text) in positions.items():
        dot = line.dots[index]
        y = middle - 10 - (row - 1) * _ROW if row > 0 else middle + 20 + (-row - 1) * _ROW
        parts.append(
            Markup('<text x="{}%" y="{}" class="label s{} {}">{}</text>').format(
                _percent(dot.value, low, high), y, dot.highlight, anchor, text
            )
        )
    spoken = "; ".join(f"{dot.name} {dot.text or number(dot.value)}" for dot in line.dots)
    note = Markup(' <span class="note">{}</span>').format(line.note) if line.note else ""
    return Markup(
        '<div class="titled"><p class="line-title"><bdi>{}</bdi>{}</p>'
        '<svg class="line" width="100%" height="{}" role="img" aria-label="{}">{}</svg></div>'
    ).format(line.title, note, height, f"{line.title}: {spoken}", Markup("").join(parts))


def _label(dot: Dot, room: float) -> str:
    """Return the name and the value of a dot; a name that takes more than ``room`` pixels is shortened."""
    value = dot.text or number(dot.value)
    longest = max(_SHORTEST, min(_LONGEST, int(room / _CHARACTER) - len(value) - 1))
    return f"{shorten(dot.name, longest)} {value}"


def _draw_dot(dot: Dot, low: float, high: float, middle: float) -> Markup:
    style = f"s{dot.highlight}" if dot.highlight else "hollow" if dot.is_hollow else "grey"
    bar = Markup("")
    if dot.bar is not None:
        ends = (_percent(end, low, high) for end in dot.bar)
        bar = Markup('<line x1="{0}%" x2="{1}%" y1="{2}" y2="{2}" class="bar-line {3}"/>').format(*ends, middle, style)
    shape = Markup('<circle cx="{}%" cy="{}" r="{}" class="{}"/>').format(
        _percent(dot.value, low, high), middle, _RADIUS if dot.highlight else _SMALL, style
    )
    title = f"{dot.name}: {dot.text or number(dot.value)}{' (beyond this scale)' if dot.value > high else ''}"
    return Markup("<g>{}{}<title>{}</title></g>").format(bar, shape, escape(title))


def _place_labels(dots: Sequence[Dot], low: float, high: float) -> dict[int, tuple[int, str, str]]:
    """Return the row of each label, above (positive) or below (negative) its line, its anchor, and its text."""
    taken: dict[int, list[tuple[float, float]]] = {}
    positions = {}
    for index, dot in enumerate(dots):
        if not dot.highlight:
            continue
        centre = _percent(dot.value, low, high) * _NARROW / 100
        text = _label(dot, max(centre, _NARROW - centre, 2 * min(centre, _NARROW - centre)))
        width = _CHARACTER * len(text)
        is_central = width / 2 <= min(centre, _NARROW - centre)
        anchor = "middle" if is_central else "start" if centre < _NARROW / 2 else "end"
        left = centre - {"start": 0, "middle": width / 2, "end": width}[anchor]
        row = next(
            row
            for row in (1, -1, 2, -2, 3, -3, 4, -4)
            if all(left > end + 6 or left + width < begin - 6 for begin, end in taken.get(row, [])) or row == -4
        )
        taken.setdefault(row, []).append((left, left + width))
        positions[index] = row, anchor, text
    return positions
