"""The board: facts of each dataset and entrant, and a row for each measured value."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from gahbench.board.statistics import UNKNOWN, Estimate


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
    estimate: Estimate


@dataclass(frozen=True, eq=False)
class DatasetBoard:
    """The board of one dataset."""

    dataset: str
    entries: Sequence[Entry]
    values: Sequence[Value]

    @cached_property
    def _by_quantity(self) -> dict[tuple[str, str, float | None], dict[str, Estimate]]:
        found: dict[tuple[str, str, float | None], dict[str, Estimate]] = {}
        for value in self.values:
            found.setdefault((value.metric, value.part, value.sigma), {})[value.entrant] = value.estimate
        return found

    def estimate(self, entrant: str, metric: str, part: str = "", sigma: float | None = None) -> Estimate:
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
