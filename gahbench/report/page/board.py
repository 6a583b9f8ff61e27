"""The tables of a board as a page shows them: columns in groups that are switched, and intervals as bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from gahbench._util.readable import level_name
from gahbench.board.board import DatasetBoard
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.ranks import OverDatasets
from gahbench.report.columns import (
    Column,
    bracket_column,
    cost_columns,
    entry_kinds,
    entry_ranks,
    estimates_of,
    overall_columns,
    value_column,
)


@dataclass(frozen=True)
class EntrantTable:
    """A table of entrants: their labels, their kinds, and columns."""

    entrants: Sequence[str]
    kinds: Sequence[str]
    columns: Sequence[Column]

    @property
    def groups(self) -> list[str]:
        """Groups of columns, that of the summary first."""
        return list(dict.fromkeys(column.group for column in self.columns))


def dataset_table(board: DatasetBoard) -> EntrantTable:
    """Return the table of one dataset, with every value that has a mean over noise levels, and the PSNR at each."""
    columns = [column for column in _columns(board) if column.is_known]
    return EntrantTable([entry.entrant for entry in board.entries], [entry.kind for entry in board.entries], columns)


def overall_table(found: OverDatasets) -> EntrantTable | None:
    """Return the means over datasets; ``None`` where there are too few of them."""
    rows = found.rows
    if not rows:
        return None
    return EntrantTable([row.entrant for row in rows], [row.kind for row in rows], overall_columns(rows))


def _columns(board: DatasetBoard) -> Iterator[Column]:
    of = partial(estimates_of, board, [entry.entrant for entry in board.entries])
    yield entry_ranks(board.entries)
    yield entry_kinds(board.entries)
    yield value_column("PSNR", of("psnr"), has_bars=True)
    yield value_column("gain", of("gain_over_baseline"), sign=True, has_bars=True)
    yield bracket_column("deficit", of("deficit", "min"), of("deficit"), has_bars=True)
    yield bracket_column("KL (nats)", of("kl", "min"), of("kl"), digits=3, has_bars=True)
    yield value_column("slope", of("slope"))
    yield from cost_columns(board.entries)
    levels = {sigma: f"σ {level_name(sigma)}" for sigma in board.sigmas}
    for sigma, level in levels.items():
        yield value_column(f"PSNR, {level}", of("psnr", sigma=sigma), group="PSNR by σ")
    for sigma, level in levels.items():
        yield value_column(f"gain, {level}", of("gain_over_baseline", sigma=sigma), sign=True, group="gain by σ")
    for sigma, level in levels.items():
        low, high = of("deficit", "min", sigma), of("deficit", sigma=sigma)
        yield bracket_column(f"deficit, {level}", low, high, group="deficit by σ")
    for metric, part in board.overall_metrics:
        head, group = f"{metric}.{part}" if part else metric, parse_metric_name(metric).name
        yield value_column(head, of(metric, part), digits=3, has_bars=not part, group=group)
