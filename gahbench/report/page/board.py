"""The tables of a board as a page shows them: columns in groups that are switched, and intervals as bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gahbench._util.readable import level_name
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.over_datasets import over_datasets
from gahbench.board.statistics import Estimate
from gahbench.report import cells

if TYPE_CHECKING:
    from gahbench.board.board import DatasetBoard, Entry
    from gahbench.board.results import Results

#: The group of columns that is shown at first.
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
    """A cell of a table."""

    text: str
    key: str = ""
    bar: Bar | None = None
    address: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, its group, whether it holds text, and its cells."""

    head: str
    group: str
    is_text: bool
    cells: Sequence[Cell]

    @property
    def is_known(self) -> bool:
        """Whether any cell has something."""
        return any(cell.text != cells.DASH for cell in self.cells)


@dataclass(frozen=True)
class Row:
    """A row of a table: the entrant's label, its kind, and its cells."""

    entrant: str
    kind: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Table:
    """A table of entrants: the columns are those of the cells."""

    columns: Sequence[Column]
    rows: Sequence[Row]

    @property
    def groups(self) -> list[str]:
        """Groups of columns, that of the summary first."""
        return list(dict.fromkeys(column.group for column in self.columns))


def dataset_table(board: DatasetBoard) -> Table:
    """Return the table of one dataset, with every value that has a mean over noise levels, and the PSNR at each."""
    entries = board.entries
    return _table([entry.entrant for entry in entries], [entry.kind for entry in entries], list(_columns(board)))


def overall_table(results: Results) -> Table | None:
    """Return the means over datasets; ``None`` where there are too few of them."""
    rows = over_datasets(results).rows
    if not rows:
        return None
    columns = [
        _ranks([(row.rank, row.rank_high, False) for row in rows]),
        Column("kind", SUMMARY, True, [Cell(row.kind) for row in rows]),
        value_column("PSNR", SUMMARY, [row.psnr for row in rows]),
        value_column("gain", SUMMARY, [row.gain for row in rows], sign=True),
    ]
    return _table([row.entrant for row in rows], [row.kind for row in rows], columns)


def _table(entrants: Sequence[str], kinds: Sequence[str], columns: Sequence[Column]) -> Table:
    kept = [column for column in columns if column.is_known]
    rows = zip(*(column.cells for column in kept), strict=True) if kept else [()] * len(entrants)
    return Table(kept, [Row(*row) for row in zip(entrants, kinds, rows, strict=True)])


def _columns(board: DatasetBoard) -> Iterator[Column]:
    entries = board.entries

    def of(metric: str, part: str = "", sigma: float | None = None) -> list[Estimate]:
        return [board.estimate(entry.entrant, metric, part, sigma) for entry in entries]

    yield _ranks([(entry.rank, entry.rank_high, bool(entry.marks)) for entry in entries])
    yield Column("kind", SUMMARY, True, [Cell(entry.kind or cells.DASH) for entry in entries])
    yield value_column("PSNR", SUMMARY, of("psnr"))
    yield value_column("gain", SUMMARY, of("gain_over_baseline"), sign=True)
    yield bracket_column("deficit", SUMMARY, of("deficit", "min"), of("deficit"))
    yield bracket_column("KL (nats)", SUMMARY, of("kl", "min"), of("kl"), digits=3)
    yield value_column("slope", SUMMARY, of("slope"), has_bars=False)
    yield from _facts(entries)
    for sigma in board.sigmas:
        yield value_column(_at("PSNR", sigma), "PSNR by σ", of("psnr", sigma=sigma), has_bars=False)
    for sigma in board.sigmas:
        yield value_column(_at("gain", sigma), "gain by σ", of("gain_over_baseline", sigma=sigma), True, has_bars=False)
    for sigma in board.sigmas:
        low, high = of("deficit", "min", sigma), of("deficit", sigma=sigma)
        yield bracket_column(_at("deficit", sigma), "deficit by σ", low, high, has_bars=False)
    for metric, part in board.overall_metrics:
        named = parse_metric_name(metric)
        head = f"{metric}.{part}" if part else metric
        yield value_column(head, named.name, of(metric, part), digits=3, has_bars=not part)


def _facts(entries: Sequence[Entry]) -> Iterator[Column]:
    def column(head: str, known: Callable[[Entry], float | None], text: Callable[[Entry], str]) -> Column:
        found = [(known(entry), text(entry)) for entry in entries]
        keys = ["" if key is None or math.isnan(key) else f"{key:g}" for key, _ in found]
        return Column(head, SUMMARY, False, [Cell(text, key) for (_, text), key in zip(found, keys, strict=True)])

    yield column("parameters", lambda one: one.parameters, lambda one: cells.count(one.parameters))
    yield column("training", lambda one: one.train_seconds, lambda one: cells.duration(one.train_seconds))
    yield column("seeds", lambda one: one.seeds, lambda one: cells.DASH if one.seeds is None else str(one.seeds))


def _ranks(ranks: Sequence[tuple[int | None, int | None, bool]]) -> Column:
    """Return the column of ranks, each with its interval on the scale of all."""
    most = max((high for _, high, _ in ranks if high is not None), default=1)

    found = [Cell(cells.rank(low, high, marked), bar=rank_bar(low, high, most)) for low, high, marked in ranks]
    return Column("rank", SUMMARY, False, found)


def rank_bar(low: int | None, high: int | None, most: int) -> Bar | None:
    """Return the bar of the interval of a rank, on the scale from 1 to the last one."""
    if low is None or high is None:
        return None
    first, last = (LENGTH * (rank - 1) / max(1, most - 1) for rank in (low, high))
    return Bar(first, first, last)


def value_column(
    head: str, group: str, found: Sequence[Estimate], sign: bool = False, digits: int = 2, has_bars: bool = True
) -> Column:
    """Return the column of values with their intervals."""
    bars = _bars([(one.low, one.value, one.high) for one in found]) if has_bars else [None] * len(found)
    texts = [cells.with_half_width(one, sign, digits) for one in found]
    return Column(head, group, False, [Cell(text, bar=bar) for text, bar in zip(texts, bars, strict=True)])


def bracket_column(
    head: str, group: str, low: Sequence[Estimate], high: Sequence[Estimate], digits: int = 2, has_bars: bool = True
) -> Column:
    """Return the column of values of which some are known between two ends, which are then their bars."""
    ends = [
        (bottom.value, math.nan, top.value) if bottom.is_known else (top.low, top.value, top.high)
        for bottom, top in zip(low, high, strict=True)
    ]
    bars = _bars(ends) if has_bars else [None] * len(ends)
    texts = [cells.between(*both, digits) for both in zip(low, high, strict=True)]
    return Column(head, group, False, [Cell(text, bar=bar) for text, bar in zip(texts, bars, strict=True)])


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


def _at(name: str, sigma: float) -> str:
    return f"{name}, σ {level_name(sigma)}"
