"""Columns of tables: built once from a board, and shown on terminals, as Markdown, LaTeX and HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gahbench.board.board import DatasetBoard, Entry
from gahbench.board.statistics import Estimate
from gahbench.report import cells

if TYPE_CHECKING:
    from gahbench.board.ranks import Overall

#: The group of columns that a page shows at first.
SUMMARY = "summary"
#: Length of a bar, in units of its drawing.
LENGTH = 72


@dataclass(frozen=True)
class Bar:
    """An interval, drawn from ``low`` to ``high`` with a point at ``value``, if any, all from 0 to :data:`LENGTH`."""

    low: float
    value: float | None
    high: float


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, a page's key to sort by, an interval, and where a link leads."""

    text: str
    key: str = ""
    bar: Bar | None = None
    address: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, its cells, whether it holds text, and its group on pages."""

    head: str
    cells: Sequence[Cell]
    is_text: bool = False
    group: str = SUMMARY

    @property
    def is_known(self) -> bool:
        """Whether any cell has something."""
        return any(cell.text != cells.DASH for cell in self.cells)

    @property
    def is_left(self) -> bool:
        """Whether tables of text align it to the left."""
        return self.is_text or self.head == "rank"

    @property
    def texts(self) -> list[str]:
        """The texts of its cells."""
        return [cell.text for cell in self.cells]

    @property
    def width(self) -> int:
        """The most characters of its heading and its cells."""
        return max(map(len, [self.head, *self.texts]))


def column(head: str, texts: Iterable[str], is_text: bool = False) -> Column:
    """Return a column of texts alone."""
    return Column(head, [Cell(text) for text in texts], is_text)


def estimates_of(
    board: DatasetBoard, labels: Sequence[str], metric: str, part: str = "", sigma: float | None = None
) -> list[Estimate]:
    """Return a value of each of some entrants."""
    return [board.estimate(label, metric, part, sigma) for label in labels]


def overall_columns(rows: Sequence[Overall]) -> list[Column]:
    """Return the columns of means over datasets that are known, but for the entrants'."""
    columns = [
        rank_column([(row.rank, row.rank_high, False) for row in rows]),
        column("kind", [row.kind for row in rows], is_text=True),
        value_column("PSNR", [row.psnr for row in rows], has_bars=True),
        value_column("gain", [row.gain for row in rows], sign=True, has_bars=True),
    ]
    return [one for one in columns if one.is_known]


def entry_ranks(entries: Sequence[Entry]) -> Column:
    """Return the column of the ranks of entries."""
    return rank_column([(entry.rank, entry.rank_high, bool(entry.marks)) for entry in entries])


def entry_kinds(entries: Sequence[Entry]) -> Column:
    """Return the column of the kinds of entries."""
    return column("kind", [entry.kind or cells.DASH for entry in entries], is_text=True)


def cost_columns(entries: Sequence[Entry]) -> list[Column]:
    """Return the columns of parameters, training time and seeds, which pages sort by numbers."""

    def numbers(head: str, known: Callable[[Entry], float | None], text: Callable[[Entry], str]) -> Column:
        found = [(known(entry), text(entry)) for entry in entries]
        return Column(head, [Cell(text, "" if key is None or math.isnan(key) else f"{key:g}") for key, text in found])

    return [
        numbers("parameters", lambda one: one.parameters, lambda one: cells.count(one.parameters)),
        numbers("training", lambda one: one.train_seconds, lambda one: cells.duration(one.train_seconds)),
        numbers("seeds", lambda one: one.seeds, lambda one: cells.DASH if one.seeds is None else str(one.seeds)),
    ]


def rank_column(ranks: Sequence[tuple[int | None, int | None, bool]]) -> Column:
    """Return the column of ranks, each with its interval on the scale of all."""
    most = max((high for _, high, _ in ranks if high is not None), default=1)
    found = [Cell(cells.rank(low, high, marked), bar=rank_bar(low, high, most)) for low, high, marked in ranks]
    return Column("rank", found)


def rank_bar(low: int | None, high: int | None, most: int) -> Bar | None:
    """Return the bar of the interval of a rank, on the scale from 1 to the last one."""
    if low is None or high is None:
        return None
    first, last = (LENGTH * (rank - 1) / max(1, most - 1) for rank in (low, high))
    return Bar(first, first, last)


def value_column(
    head: str,
    found: Sequence[Estimate],
    *,
    sign: bool = False,
    digits: int = 2,
    has_bars: bool = False,
    group: str = SUMMARY,
) -> Column:
    """Return the column of values with their intervals."""
    bars = _bars([(one.low, one.value, one.high) for one in found]) if has_bars else [None] * len(found)
    texts = [cells.with_half_width(one, sign, digits) for one in found]
    return Column(head, [Cell(text, bar=bar) for text, bar in zip(texts, bars, strict=True)], group=group)


def bracket_column(
    head: str,
    low: Sequence[Estimate],
    high: Sequence[Estimate],
    *,
    digits: int = 2,
    has_bars: bool = False,
    group: str = SUMMARY,
) -> Column:
    """Return the column of values of which some are known between two ends, which are then their bars."""
    ends = [
        (bottom.value, math.nan, top.value) if bottom.is_known else (top.low, top.value, top.high)
        for bottom, top in zip(low, high, strict=True)
    ]
    bars = _bars(ends) if has_bars else [None] * len(ends)
    texts = [cells.between(*both, digits) for both in zip(low, high, strict=True)]
    return Column(head, [Cell(text, bar=bar) for text, bar in zip(texts, bars, strict=True)], group=group)


def _bars(ends: Sequence[tuple[float, float, float]]) -> list[Bar | None]:
    """Return bars on one scale; none where nothing is known, or no scale. What is far from most is drawn at the end."""
    known = np.array([end for bar in ends for end in bar if math.isfinite(end)])
    if not len(known) or known.min() == known.max():
        return [None] * len(ends)
    # Tukey's outer fences: one that is far off would leave no room for the others.
    lower, upper = np.quantile(known, (0.25, 0.75))
    bottom = max(float(known.min()), float(lower - 3 * (upper - lower)))
    top = min(float(known.max()), float(upper + 3 * (upper - lower)))
    if bottom == top:
        return [None] * len(ends)

    def place(end: float, otherwise: float) -> float:
        shown = end if math.isfinite(end) else otherwise
        return LENGTH * min(1.0, max(0.0, (shown - bottom) / (top - bottom)))

    return [
        None
        if math.isnan(high) and math.isnan(value)
        else Bar(place(low, value), None if math.isnan(value) else place(value, high), place(high, value))
        for low, value, high in ends
    ]
