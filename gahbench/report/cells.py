"""Cells and columns of tables, independent of the output format: terminal, Markdown, LaTeX or HTML."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gahbench._util import readable
from gahbench.board.board import DatasetBoard, Entry
from gahbench.board.statistics import Interval

if TYPE_CHECKING:
    from gahbench.board.ranks import Overall

DASH = "–"
MINUS = "−"
#: The group of columns that a page shows initially.
SUMMARY = "summary"
#: Intervals whose centre deviates from the value by more than this share of their half width are shown by their ends.
_LARGEST_SKEW = 0.1
#: The length of the axis of a bar, in SVG units.
LENGTH = 72


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


def has_interval(text: str) -> bool:
    """Return whether the text of :func:`format_interval` shows an interval."""
    return "±" in text or "[" in text


def between(low: Interval, high: Interval, digits: int = 2) -> str:
    """Format a value that is known between two limits, such as ``0.80 to 1.31``, or ``high`` if ``low`` is unknown."""
    if not (low.is_known and high.is_known):
        return format_interval(high, digits=digits)
    return f"{number(low.value, digits)} to {number(high.value, digits)}"


def count(value: int | None) -> str:
    """Format a count by :func:`gahbench._util.readable.format_number`; ``None`` becomes a dash."""
    return DASH if value is None else readable.format_number(value)


def duration(value: float) -> str:
    """Format seconds by :func:`gahbench._util.readable.format_duration`; infinity and NaN become a dash."""
    return readable.format_duration(value) if math.isfinite(value) else DASH


def seconds(value: float) -> str:
    """Format seconds with two significant digits, such as ``0.042`` or ``12``; NaN becomes a dash."""
    if not math.isfinite(value):
        return DASH
    digits = 1 - math.floor(math.log10(value)) if value > 0 else 1
    return f"{round(value, digits):.{max(0, digits)}f}"


def magnitude(value: float) -> str:
    """Format a number by :func:`gahbench._util.readable.format_number`; NaN becomes a dash."""
    return readable.format_number(value) if math.isfinite(value) else DASH


def rank(low: int | None, high: int | None, is_flagged: bool = False) -> str:
    """Format a rank and the upper end of its interval, such as ``1–3``, followed by ``!`` if the entrant is flagged."""
    text = DASH if low is None else str(low) if high in (None, low) else f"{low}–{high}"
    return text + ("!" if is_flagged else "")


def fold_label(label: str, width: int) -> str:
    """Break a label into lines of at most ``width`` characters, at brackets, commas and spaces if possible."""
    lines = [""]
    for part in re.split(r"(?<=,)(?! )|(?<= )|(?=\[)", label):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
        lines[-1] += part
    return "\n".join(line[start : start + width] for line in lines for start in range(0, len(line), width))


def file_stems(labels: list[str]) -> dict[str, str]:
    """Return a file name, without suffix, for each label: safe, and unique regardless of case."""
    stems = {label: re.sub(r"[^A-Za-z0-9.=+-]+", "_", label).strip("_.")[:100] or "dataset" for label in labels}
    lowered = [stem.lower() for stem in stems.values()]
    used: set[str] = set()
    for label, stem in stems.items():
        if lowered.count(stem.lower()) > 1:
            stem = f"{stem}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
        # A label may equal the stem that another label was given.
        while stem.lower() in used:
            stem += "_"
        used.add(stem.lower())
        stems[label] = stem
    return stems


@dataclass(frozen=True)
class Bar:
    """An interval from ``low`` to ``high``, with a point at ``value``; positions are 0 to :data:`LENGTH`.

    ``value`` is ``None`` if it is unknown or beyond the scale. ``is_cut_low`` and ``is_cut_high`` state whether the
    interval continues beyond an end of the scale.
    """

    low: float
    value: float | None
    high: float
    is_cut_low: bool = False
    is_cut_high: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, and on pages its sort key, the bar of its interval, its link and its tooltip."""

    text: str
    key: str = ""
    bar: Bar | None = None
    link: str = ""
    title: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, its cells, whether it holds text, its groups on pages, and its definition."""

    head: str
    cells: Sequence[Cell]
    is_text: bool = False
    groups: tuple[str, ...] = (SUMMARY,)
    title: str = ""

    @property
    def is_known(self) -> bool:
        """Whether any cell has a value."""
        return any(cell.text != DASH for cell in self.cells)

    @property
    def is_left(self) -> bool:
        """Whether text tables align the column to the left."""
        return self.is_text or self.head == "rank"

    @property
    def texts(self) -> list[str]:
        """The texts of the cells."""
        return [cell.text for cell in self.cells]

    @property
    def width(self) -> int:
        """The length of the longest text among the heading and the cells, in characters."""
        return max(map(len, [self.head, *self.texts]))


def plain_column(head: str, texts: Iterable[str], is_text: bool = False) -> Column:
    """Return a column of text without bars, keys or links."""
    return Column(head, [Cell(text) for text in texts], is_text)


def estimates_of(
    board: DatasetBoard, labels: Sequence[str], metric: str, part: str = "", sigma: float | None = None
) -> list[Interval]:
    """Return the value of a metric for each of the given entrants."""
    return [board.estimate(label, metric, part, sigma) for label in labels]


def overall_columns(rows: Sequence[Overall]) -> list[Column]:
    """Return the columns of means over datasets that have values, without the column of entrants."""
    columns = [
        rank_column(rows),
        kind_column(rows),
        value_column("PSNR", [row.psnr for row in rows], has_bars=True),
        value_column("gain", [row.gain for row in rows], sign=True, has_bars=True),
        _prediction_column("gain on a new dataset", [row.new_gain for row in rows]),
    ]
    return [column for column in columns if column.is_known]


def _prediction_column(head: str, values: Sequence[Interval]) -> Column:
    """Return a column of prediction intervals, such as ``+0.31 to +1.20``, without their mean."""
    texts = [
        DASH if math.isnan(value.low) else f"{number(value.low, sign=True)} to {number(value.high, sign=True)}"
        for value in values
    ]
    return _column_with_bars(head, texts, [(value.low, value.value, value.high) for value in values], True, (SUMMARY,))


def kind_column(rows: Sequence[Entry | Overall]) -> Column:
    """Return the column of the kinds of entrants."""
    return plain_column("kind", [row.kind or DASH for row in rows], is_text=True)


def cost_columns(entries: Sequence[Entry]) -> list[Column]:
    """Return the columns of cost, parameters first, and of seeds, with numeric sort keys."""

    def numbers(head: str, values: Sequence[float | None], text: Callable[[Any], str]) -> Column:
        keys = ["" if value is None or math.isnan(value) else f"{value:g}" for value in values]
        return Column(head, [Cell(text(value), key) for value, key in zip(values, keys, strict=True)])

    return [
        numbers("parameters", [entry.parameters for entry in entries], count),
        numbers("multiply-adds per pixel", [entry.cost.multiply_adds for entry in entries], magnitude),
        numbers("seconds per megapixel", [entry.cost.seconds for entry in entries], seconds),
        numbers("training images", [entry.cost.training_images for entry in entries], count),
        numbers("training", [entry.cost.train_seconds for entry in entries], duration),
        numbers("seeds", [entry.seeds for entry in entries], lambda seeds: DASH if seeds is None else str(seeds)),
    ]


def rank_column(rows: Sequence[Entry | Overall]) -> Column:
    """Return the column of ranks, each with the bar of its interval on a common scale."""
    most = max((row.rank_high for row in rows if row.rank_high is not None), default=1)
    return Column("rank", [Cell(rank_text(row), bar=rank_bar(row, most)) for row in rows])


def rank_text(row: Entry | Overall) -> str:
    """Format the rank of an entrant, with ``!`` if it is flagged."""
    return rank(row.rank, row.rank_high, isinstance(row, Entry) and bool(row.flags))


def rank_bar(row: Entry | Overall, most: int) -> Bar | None:
    """Return the bar of the interval of a rank, on a scale from 1 to ``most``; ``None`` without an interval."""
    if row.rank is None or row.rank_high is None:
        return None
    first, last = (LENGTH * (rank - 1) / max(1, most - 1) for rank in (row.rank, row.rank_high))
    return Bar(first, first, last)


def value_column(
    head: str,
    values: Sequence[Interval],
    *,
    sign: bool = False,
    digits: int = 2,
    has_bars: bool = False,
    groups: tuple[str, ...] = (SUMMARY,),
) -> Column:
    """Return a column of values with their intervals."""
    texts = [format_interval(value, sign, digits) for value in values]
    return _column_with_bars(head, texts, [(value.low, value.value, value.high) for value in values], has_bars, groups)


def bracket_column(
    head: str,
    low: Sequence[Interval],
    high: Sequence[Interval],
    *,
    digits: int = 2,
    has_bars: bool = False,
    groups: tuple[str, ...] = (SUMMARY,),
) -> Column:
    """Return a column of values; texts and bars show two limits where a value is only known to lie between them."""
    brackets = list(zip(low, high, strict=True))
    ends = [(a.value, math.nan, b.value) if a.is_known else (b.low, b.value, b.high) for a, b in brackets]
    return _column_with_bars(head, [between(*bracket, digits) for bracket in brackets], ends, has_bars, groups)


def _column_with_bars(
    head: str, texts: Sequence[str], ends: Sequence[tuple[float, float, float]], has_bars: bool, groups: tuple[str, ...]
) -> Column:
    bars = _bars(ends) if has_bars else [None] * len(ends)
    return Column(head, [Cell(text, bar=bar) for text, bar in zip(texts, bars, strict=True)], groups=groups)


def _bars(ends: Sequence[tuple[float, float, float]]) -> list[Bar | None]:
    """Return bars of (low, value, high) on a common scale that clips outliers; ``None`` if all values are equal."""
    known = np.array([end for bar in ends for end in bar if math.isfinite(end)])
    if not len(known):
        return [None] * len(ends)
    # Without Tukey's outer fences an outlier would leave no room for the other bars.
    lower, upper = np.quantile(known, (0.25, 0.75))
    bottom = max(float(known.min()), float(lower - 3 * (upper - lower)))
    top = min(float(known.max()), float(upper + 3 * (upper - lower)))
    if bottom == top:
        return [None] * len(ends)

    def position(end: float, fallback: float) -> float:
        finite = end if math.isfinite(end) else fallback
        return LENGTH * min(1.0, max(0.0, (finite - bottom) / (top - bottom)))

    def bar(low: float, value: float, high: float) -> Bar | None:
        if math.isnan(high) and math.isnan(value):
            return None
        is_cut = any(end < bottom for end in (low, value, high)), any(end > top for end in (low, value, high))
        middle = position(value, value) if bottom <= value <= top else None
        return Bar(position(low, value), middle, position(high, value), *is_cut)

    return [bar(*interval) for interval in ends]
