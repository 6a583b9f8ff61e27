"""The transfer gap of a board: whether results under drawn noise hold under recorded noise.

The metric ``transfer-gap`` measures both PSNR of every image: under recorded noise, and under white Gaussian noise of
equal strength. Values and intervals are those of paired differences over images, as for all other values of boards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gahbench.board.facts import entrant_kinds
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.board.scorecube import join_levels, left_out_rows, metric_cubes
from gahbench.board.statistics import Array, Interval, SampledMeans, estimate

if TYPE_CHECKING:
    from gahbench.board.tables import Tables

#: Name of the metric, and of the parts that it measures.
METRIC, DRAWN = "transfer-gap", "transfer-gap.drawn"
#: The directions in which the correlation of the noise is measured.
DIRECTIONS = ("columns", "rows")
#: Columns of the means of an entrant: PSNR under recorded noise, PSNR under drawn noise, and their difference.
RECORDED_COLUMN, DRAWN_COLUMN, GAP_COLUMN = range(3)
#: From means of gap and drawn PSNR to these columns.
_TO_COLUMNS = np.array([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
#: Fewest entrants whose order is compared.
MIN_ENTRANTS = 3


@dataclass(frozen=True)
class TransferRow:
    """The PSNR of an entrant under recorded and drawn noise, and its ranks among practical entrants."""

    entrant: str
    kind: str
    recorded: Interval
    drawn: Interval
    gap: Interval
    recorded_rank: int | None = None
    drawn_rank: int | None = None


@dataclass(frozen=True)
class Transfer:
    """The transfer from drawn to recorded noise on a dataset.

    Parameters
    ----------
    dataset
        Label of the dataset.
    sigma
        The geometric mean of the noise levels of its images.
    rows
        The entrants, the highest PSNR under recorded noise first.
    rank_correlation
        Kendall's tau of practical entrants under recorded and drawn noise, with the percentile interval of joint draws
        of all means: it includes changes of order by chance, so its centre is below the value. Unknown for fewer than
        three practical entrants.
    exchanged, pairs
        Number of pairs of practical entrants whose order differs, and number of all pairs.
    correlations
        Correlation of the recorded noise of two pixels at a distance of 1, 2, … columns or rows, by direction.
    """

    dataset: str
    sigma: float
    rows: Sequence[TransferRow]
    rank_correlation: Interval
    exchanged: int
    pairs: int
    correlations: dict[str, list[Interval]]


def transfers(results: Tables) -> dict[str, Transfer]:
    """Return the transfer from drawn to recorded noise, for datasets on which the metric has values."""
    complete = results.selected_from or results
    names = [name for name in map(str, complete.scores["metric"].unique()) if name.split(".")[0] == METRIC]
    if METRIC not in names or DRAWN not in names:
        return {}
    cubes = metric_cubes(complete, left_out_rows(complete), names)
    kinds, shown = entrant_kinds(complete), {str(name) for name in results.datasets["dataset"]}
    by_dataset = {}
    for dataset, gaps in cubes[METRIC].items():
        if dataset not in shown or dataset not in cubes[DRAWN] or len(gaps.sigmas) != 1:
            continue
        joined = join_levels(gaps, cubes[DRAWN][dataset])
        sample = joined.sampled().apply(lambda array: array @ _TO_COLUMNS)
        practical = [
            index
            for index, label in enumerate(gaps.entrants)
            if kinds.get(label) in PRACTICAL_KINDS and label not in joined.left_out
        ]
        correlation, exchanged = _rank_correlation(sample, practical)
        first = gaps.entrants[0]
        correlations = {
            direction: [
                cubes[part][dataset].sampled().row(cubes[part][dataset].entrants.index(first)).intervals()[0]
                for part in sorted(name for name in names if name.startswith(f"{METRIC}.{direction}-"))
            ]
            for direction in DIRECTIONS
        }
        rows = [row for row in _rows(gaps.entrants, kinds, sample, practical) if row.entrant in results.entrants]
        pairs = len(practical) * (len(practical) - 1) // 2
        by_dataset[dataset] = Transfer(dataset, gaps.sigmas[0], rows, correlation, exchanged, pairs, correlations)
    return by_dataset


def _rows(
    entrants: Sequence[str], kinds: dict[str, str], sample: SampledMeans, practical: Sequence[int]
) -> list[TransferRow]:
    """Return the rows of entrants, the highest PSNR under recorded noise first."""
    ranks = {
        column: {
            index: rank for rank, index in enumerate(sorted(practical, key=lambda i: -sample.values[i, column]), 1)
        }
        for column in (RECORDED_COLUMN, DRAWN_COLUMN)
    }
    rows = []
    for index in np.argsort(-sample.values[:, RECORDED_COLUMN], kind="stable").tolist():
        recorded, drawn, gap = sample.row(index).intervals()
        own_ranks = (ranks[column].get(index) for column in (RECORDED_COLUMN, DRAWN_COLUMN))
        rows.append(TransferRow(entrants[index], kinds.get(entrants[index], ""), recorded, drawn, gap, *own_ranks))
    return rows


def _rank_correlation(sample: SampledMeans, indices: Sequence[int]) -> tuple[Interval, int]:
    """Return Kendall's tau of entrants under both kinds of noise, and the number of pairs whose order differs."""
    if len(indices) < MIN_ENTRANTS:
        return Interval(float("nan")), 0
    values, draws = sample.values[list(indices)], sample.draws()[:, list(indices)]
    tau = kendall_tau(values[:, RECORDED_COLUMN], values[:, DRAWN_COLUMN])
    exchanged = round((1 - float(tau)) / 2 * len(indices) * (len(indices) - 1) / 2)
    if np.isnan(draws).any():
        return Interval(float(tau)), exchanged
    return estimate(tau, kendall_tau(draws[..., RECORDED_COLUMN], draws[..., DRAWN_COLUMN])), exchanged


def kendall_tau(first: Array, second: Array) -> Array:
    """Return Kendall's tau of values (..., E) without ties, shape (...): 1 - 2 times the share of exchanged pairs."""
    left, right = np.triu_indices(first.shape[-1], 1)
    agree = np.sign(first[..., left] - first[..., right]) * np.sign(second[..., left] - second[..., right])
    return np.asarray(agree.mean(axis=-1))
