"""The board: facts of each dataset and entrant, and a row for each measured value."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from gahbench.board.statistics import UNKNOWN, Estimate


@dataclass(frozen=True)
class Entry:
    """Facts of an entrant on a dataset: a row of the board.

    Parameters
    ----------
    dataset, entrant
        Labels.
    kind
        trained, classical, oracle, optimal or bound; empty where nothing of it was trained or scored.
    rank, rank_high
        The ends of the interval of its rank, 1 the best; ``None`` for those without a rank.
    optimum, optimal_slope
        Those of the dataset; NaN if the slope is not known.
    parameters, train_seconds
        Number of parameters and the mean over seeds of the time of training; ``None`` and NaN if not trained.
    seeds
        How many training seeds count; ``None`` where there are none.
    note
        Failures, and dependence of the row on the machine; empty if there are none. Marks come first.
    marks
        Why its scores are flagged; empty for almost all.
    """

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
    """A value of an entrant on a dataset.

    Parameters
    ----------
    dataset, entrant
        Labels.
    metric
        The label of a metric, or of a value that the board computes from the PSNR: ``gain_over_noisy``,
        ``gain_over_baseline``, ``deficit``, ``kl``, ``slope``.
    part
        Of the metric; of ``deficit`` and ``kl``, ``min`` for the lower end of a bracket; else empty.
    sigma
        The noise level; ``None`` for the mean over them, and for values without one.
    estimate
        Mean over seeds and images, and its interval.
    """

    dataset: str
    entrant: str
    metric: str
    part: str
    sigma: float | None
    estimate: Estimate


@dataclass(frozen=True, eq=False)
class DatasetBoard:
    """The board of one dataset.

    Parameters
    ----------
    dataset
        Its label.
    entries
        In the order of the board.
    values
        Each value once.
    """

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
        """Return a value and its interval; NaN where it is not known.

        Parameters
        ----------
        entrant, metric, part, sigma
            As for :class:`Value`.
        """
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
    """The board of a suite.

    Parameters
    ----------
    suite
        Its name.
    entries
        Facts of each dataset and entrant, in the order of the board.
    values
        Each value once.
    """

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
        """Return the rows of some entrants and datasets, with the board's own values and those of some metrics.

        Ranks and intervals stay those of the whole board.

        Parameters
        ----------
        entrants, datasets
            Labels.
        metrics
            Labels of metrics, without parts.
        """

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
