"""The board: facts of each dataset and entrant, a row for each measured value, and all of it as one wide table."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gahbench._util.readable import level_name
from gahbench.board.statistics import UNKNOWN, Interval

if TYPE_CHECKING:
    import pandas as pd

_HEAD = ("suite", "dataset", "rank", "rank_high", "entrant", "kind")
_ENDS = ("", "_low", "_high")
#: Values at each noise level, in the order of the columns; there is no interval of a difference from a constant.
_PER_LEVEL = tuple(
    f"{name}{{level}}{end}"
    for name in ("psnr", "gain_over_noisy", "gain_over_baseline", "deficit", "deficit_min")
    for end in (_ENDS if name != "gain_over_noisy" else ("",))
)
_OVERALL = (
    *(name.format(level="") for name in _PER_LEVEL),
    *(f"{name}{end}" for name in ("kl", "kl_min", "slope") for end in _ENDS),
)
_FACTS = ("optimal_slope", "optimum", "parameters", "train_seconds", "seeds")
_OWN = (*_HEAD, *_OVERALL, *_FACTS)
#: A metric that has one of these names is called ``metric NAME`` on boards.
RESERVED = frozenset({*_OWN, "note"})
#: Columns of a summary.
SHORT = (
    "dataset", "rank", "entrant", "kind", "psnr", "psnr_low", "psnr_high", "gain_over_baseline", "deficit", "slope",
    "parameters", "seeds", "note",
)  # fmt: skip
_COUNTS = ("rank", "rank_high", "parameters", "seeds")
_TEXTS = ("suite", "dataset", "entrant", "kind", "optimum", "note")


@dataclass(frozen=True)
class Entry:
    """Facts of an entrant on a dataset: a row of the board."""

    dataset: str
    entrant: str
    kind: str
    rank: int | None
    rank_high: int | None
    optimum: str
    optimal_slope: float = math.nan
    parameters: int | None = None
    train_seconds: float = math.nan
    seeds: int | None = None
    note: str = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Value:
    """A value of an entrant on a dataset."""

    dataset: str
    entrant: str
    metric: str
    part: str
    sigma: float | None
    estimate: Interval


@dataclass(frozen=True, eq=False)
class DatasetBoard:
    """The board of one dataset."""

    dataset: str
    entries: Sequence[Entry]
    values: Sequence[Value]

    @cached_property
    def _by_quantity(self) -> dict[tuple[str, str, float | None], dict[str, Interval]]:
        found: dict[tuple[str, str, float | None], dict[str, Interval]] = {}
        for value in self.values:
            found.setdefault((value.metric, value.part, value.sigma), {})[value.entrant] = value.estimate
        return found

    def estimate(self, entrant: str, metric: str, part: str = "", sigma: float | None = None) -> Interval:
        """Return a value and its interval; NaN where it is not known."""
        return self._by_quantity.get((metric, part, sigma), {}).get(entrant, UNKNOWN)

    def is_known(self, metric: str, part: str = "", sigma: float | None = None) -> bool:
        """Return whether any entrant has a value."""
        return any(found.is_known for found in self._by_quantity.get((metric, part, sigma), {}).values())

    @cached_property
    def sigmas(self) -> list[float]:
        """Noise levels at which a PSNR is known, ascending."""
        return self.levels("psnr")

    def levels(self, metric: str, part: str = "") -> list[float]:
        """Return the noise levels at which a value of any entrant is known, ascending."""
        levels = {sigma for name, of, sigma in self._by_quantity if (name, of) == (metric, part) and sigma is not None}
        return sorted(sigma for sigma in levels if self.is_known(metric, part, sigma))

    @cached_property
    def overall_metrics(self) -> list[tuple[str, str]]:
        """Metrics other than the board's own, with their parts, of which a mean over noise levels is known, sorted."""
        return sorted(
            (
                (metric, part)
                for metric, part, sigma in self._by_quantity
                if sigma is None and metric not in OWN and self.is_known(metric, part)
            ),
            key=".".join,
        )


#: Values that the board ranks by or computes; all others are means of metrics.
OWN = ("psnr", "gain_over_noisy", "gain_over_baseline", "deficit", "kl", "slope")
#: In front of the label of a metric that is called like one of the board's own values.
CLASHING = "metric "


@dataclass(frozen=True, eq=False)
class Board:
    """The board of a suite."""

    suite: str
    entries: Sequence[Entry]
    values: Sequence[Value]

    @cached_property
    def datasets(self) -> list[DatasetBoard]:
        """The board of each dataset, in order."""
        entries: dict[str, list[Entry]] = {}
        for entry in self.entries:
            entries.setdefault(entry.dataset, []).append(entry)
        values: dict[str, list[Value]] = {}
        for value in self.values:
            values.setdefault(value.dataset, []).append(value)
        return [DatasetBoard(name, rows, values.get(name, [])) for name, rows in entries.items()]

    def of(self, dataset: str) -> DatasetBoard:
        """Return the board of one dataset; without entries if it has no results."""
        return next((board for board in self.datasets if board.dataset == dataset), DatasetBoard(dataset, [], []))

    def is_known(self, metric: str) -> bool:
        """Return whether any entrant has a mean over noise levels."""
        return any(board.is_known(metric) for board in self.datasets)

    def restricted(self, entrants: Collection[str], datasets: Collection[str], metrics: Collection[str]) -> Board:
        """Return the rows of some entrants and datasets, with the board's own values and those of some metrics."""

        def is_kept(one: Entry | Value) -> bool:
            return one.entrant in entrants and one.dataset in datasets

        return Board(
            self.suite,
            [entry for entry in self.entries if is_kept(entry)],
            [
                value
                for value in self.values
                if is_kept(value) and (value.metric in OWN or value.metric.removeprefix(CLASHING) in metrics)
            ],
        )


def short_table(board: Board) -> pd.DataFrame:
    """Return what a summary shows of a board: means over noise levels and facts, without columns that are empty."""
    wide = wide_table(board)
    return wide[[name for name in SHORT if wide[name].notna().any() and (wide[name] != "").any()]]


def wide_table(board: Board) -> pd.DataFrame:
    """Return a board as one table."""
    import pandas as pd

    rows: dict[tuple[str, str], dict[str, Any]] = {
        (entry.dataset, entry.entrant): {"suite": board.suite, **asdict(entry)} for entry in board.entries
    }
    for value in board.values:
        if (row := rows.get((value.dataset, value.entrant))) is not None:
            row |= dict(zip(_names(value), astuple(value.estimate), strict=True))
    columns = _columns(board)
    table = pd.DataFrame(list(rows.values()), columns=pd.Index(columns))
    kinds = dict.fromkeys(columns, "float64") | dict.fromkeys(_COUNTS, "Int64")
    table = table.astype({name: kind for name, kind in kinds.items() if name not in _TEXTS})
    return table.astype(dict.fromkeys(_TEXTS, "str"))


def _stem(value: Value) -> str:
    """Return the beginning of the names of a value's columns."""
    return f"{value.metric}{'_' if value.metric in OWN else '.'}{value.part}" if value.part else value.metric


def column_name(value: Value) -> str:
    """Return the column of a value."""
    return f"{_stem(value)}{'' if value.sigma is None else f'@{level_name(value.sigma)}'}"


def _names(value: Value) -> list[str]:
    return [f"{column_name(value)}{end}" for end in _ENDS]


def _columns(board: Board) -> list[str]:
    """Return the columns in an order that depends only on the content of the results."""
    levels = sorted({value.sigma for value in board.values if value.metric == "psnr" and value.sigma is not None})
    at_levels = [name.format(level=f"@{level_name(sigma)}") for sigma in levels for name in _PER_LEVEL]
    others = {
        (_stem(value), -1.0 if value.sigma is None else value.sigma, end): name
        for value in board.values
        if value.metric not in OWN
        for end, name in zip(_ENDS, _names(value), strict=True)
    }
    return [*_OWN, *at_levels, *(others[key] for key in sorted(others)), "note"]
