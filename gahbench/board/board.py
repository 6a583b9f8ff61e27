"""The board of a suite: facts of each dataset and entrant, measured values, and a wide table that joins them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, astuple, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gahbench._util.readable import level_name
from gahbench.board.facts import Cost
from gahbench.board.statistics import UNKNOWN, Interval

if TYPE_CHECKING:
    import pandas as pd

_LEADING_COLUMNS = ("suite", "dataset", "rank", "rank_high", "entrant", "kind")
_SUFFIXES = ("", "_low", "_high")
#: Columns at each noise level, in order. The gain over the noisy images, whose PSNR is constant, has no interval of its
#: own.
_PER_LEVEL = tuple(
    f"{name}{{level}}{end}"
    for name in ("psnr", "gain_over_noisy", "gain_over_baseline", "deficit", "deficit_min")
    for end in (_SUFFIXES if name != "gain_over_noisy" else ("",))
)
_OVERALL_COLUMNS = (
    *(name.format(level="") for name in _PER_LEVEL),
    *(f"{name}{end}" for name in ("kl", "kl_min", "slope") for end in _SUFFIXES),
)
#: Columns of :class:`gahbench.board.facts.Cost`, by the name of its fields.
_COSTS = {
    "parameters": "parameters",
    "multiply_adds": "multiply_adds_per_pixel",
    "seconds": "seconds_per_megapixel",
    "machine": "measured_on",
    "training_images": "training_images",
    "train_seconds": "train_seconds",
}
_FACT_COLUMNS = ("optimal_slope", "optimum", *_COSTS.values(), "seeds")
_FIXED_COLUMNS = (*_LEADING_COLUMNS, *_OVERALL_COLUMNS, *_FACT_COLUMNS)
#: A metric with one of these names is called ``metric NAME`` on boards.
RESERVED = frozenset({*_FIXED_COLUMNS, "note"})
#: Columns of the short table.
SHORT = (
    "dataset", "rank", "entrant", "kind", "psnr", "psnr_low", "psnr_high", "gain_over_baseline", "deficit", "slope",
    "parameters", "seeds", "note",
)  # fmt: skip
_COUNT_COLUMNS = ("rank", "rank_high", "parameters", "training_images", "seeds")
_TEXT_COLUMNS = ("suite", "dataset", "entrant", "kind", "optimum", "measured_on", "note")


@dataclass(frozen=True)
class Entry:
    """Facts about an entrant on a dataset: a row of the board.

    ``rank`` and ``rank_high`` are the ends of its interval of ranks; ``flags`` are the reasons why its scores are
    flagged.
    """

    dataset: str
    entrant: str
    kind: str
    rank: int | None
    rank_high: int | None
    optimum: str
    optimal_slope: float = math.nan
    cost: Cost = field(default_factory=Cost)
    seeds: int | None = None
    note: str = ""
    flags: tuple[str, ...] = ()

    @property
    def parameters(self) -> int | None:
        """The number of parameters; ``None`` without parameters."""
        return self.cost.parameters


@dataclass(frozen=True)
class Value:
    """An estimate of a metric for an entrant on a dataset; ``sigma`` is ``None`` for values over all noise levels."""

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
        estimates: dict[tuple[str, str, float | None], dict[str, Interval]] = {}
        for value in self.values:
            estimates.setdefault((value.metric, value.part, value.sigma), {})[value.entrant] = value.estimate
        return estimates

    def estimate(self, entrant: str, metric: str, part: str = "", sigma: float | None = None) -> Interval:
        """Return a value and its interval; NaN if the value is unknown."""
        return self._by_quantity.get((metric, part, sigma), {}).get(entrant, UNKNOWN)

    def is_known(self, metric: str, part: str = "", sigma: float | None = None) -> bool:
        """Return whether the value is known for any entrant."""
        return any(estimate.is_known for estimate in self._by_quantity.get((metric, part, sigma), {}).values())

    @cached_property
    def sigmas(self) -> list[float]:
        """Noise levels at which a PSNR is known, ascending."""
        return self.levels("psnr")

    def levels(self, metric: str, part: str = "") -> list[float]:
        """Return the noise levels at which a value of any entrant is known, ascending."""
        levels = {
            sigma
            for name, its_part, sigma in self._by_quantity
            if (name, its_part) == (metric, part) and sigma is not None
        }
        return sorted(sigma for sigma in levels if self.is_known(metric, part, sigma))

    @cached_property
    def source_parts(self) -> list[str]:
        """Parts of ``psnr`` that are means over images of one source; empty unless there are only a few sources."""
        return [part for metric, part, _ in self._by_quantity if metric == "psnr" and part.startswith(SOURCE)]

    @cached_property
    def overall_metrics(self) -> list[tuple[str, str]]:
        """Sorted pairs of metric and part that have a mean over noise levels, without the board's own values."""
        return sorted(
            (
                (metric, part)
                for metric, part, sigma in self._by_quantity
                if sigma is None and metric not in OWN and self.is_known(metric, part)
            ),
            key=".".join,
        )


#: Prefix of the part of ``psnr`` that is the mean over images of one source, such as ``source-0``.
SOURCE = "source-"
#: Names of the board's own values; all other values are means of metrics.
OWN = ("psnr", "gain_over_noisy", "gain_over_baseline", "deficit", "kl", "slope")
#: Prefix of the label of a metric whose name is reserved for the board's own values.
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

    def for_dataset(self, dataset: str) -> DatasetBoard:
        """Return the board of one dataset, which is empty if the dataset has no results."""
        return next((board for board in self.datasets if board.dataset == dataset), DatasetBoard(dataset, [], []))

    def is_known(self, metric: str) -> bool:
        """Return whether any entrant has a mean of the metric over noise levels."""
        return any(board.is_known(metric) for board in self.datasets)

    def restrict(self, entrants: Collection[str], datasets: Collection[str], metrics: Collection[str]) -> Board:
        """Return the rows of chosen entrants and datasets, with the board's own values and chosen metrics."""

        def is_kept(row: Entry | Value) -> bool:
            return row.entrant in entrants and row.dataset in datasets

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
    """Return a summary of a board: means over noise levels and facts, without empty columns."""
    wide = wide_table(board)
    return wide[[name for name in SHORT if wide[name].notna().any() and (wide[name] != "").any()]]


def wide_table(board: Board) -> pd.DataFrame:
    """Return a board as one table with all values, a row for each dataset and entrant."""
    import pandas as pd

    rows: dict[tuple[str, str], dict[str, Any]] = {
        (entry.dataset, entry.entrant): {
            "suite": board.suite,
            **asdict(entry),
            **{column: getattr(entry.cost, name) for name, column in _COSTS.items()},
        }
        for entry in board.entries
    }
    for value in board.values:
        if (row := rows.get((value.dataset, value.entrant))) is not None:
            row |= dict(zip(_column_names(value), astuple(value.estimate), strict=True))
    columns = _columns(board)
    table = pd.DataFrame(list(rows.values()), columns=pd.Index(columns))
    dtypes = dict.fromkeys(columns, "float64") | dict.fromkeys(_COUNT_COLUMNS, "Int64")
    table = table.astype({name: dtype for name, dtype in dtypes.items() if name not in _TEXT_COLUMNS})
    return table.astype(dict.fromkeys(_TEXT_COLUMNS, "str"))


def _column_stem(value: Value) -> str:
    """Return the column name of a value, without its noise level."""
    return f"{value.metric}{'_' if value.metric in OWN else '.'}{value.part}" if value.part else value.metric


def column_name(value: Value) -> str:
    """Return the name of the column that holds a value."""
    return f"{_column_stem(value)}{'' if value.sigma is None else f'@{level_name(value.sigma)}'}"


def _column_names(value: Value) -> list[str]:
    return [f"{column_name(value)}{end}" for end in _SUFFIXES]


def _columns(board: Board) -> list[str]:
    """Return the names of all columns, in an order that depends only on the content of the results."""
    levels = sorted({value.sigma for value in board.values if value.metric == "psnr" and value.sigma is not None})
    at_levels = [name.format(level=f"@{level_name(sigma)}") for sigma in levels for name in _PER_LEVEL]
    other_columns = {
        (_column_stem(value), -1.0 if value.sigma is None else value.sigma, end): name
        for value in board.values
        if value.metric not in OWN
        for end, name in zip(_SUFFIXES, _column_names(value), strict=True)
    }
    sources = dict.fromkeys(column_name(value) for value in board.values if value.part.startswith(SOURCE))
    return [*_FIXED_COLUMNS, *at_levels, *sources, *(other_columns[key] for key in sorted(other_columns)), "note"]
