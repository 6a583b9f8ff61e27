"""Order and ranks of entrants by their PSNR, and means over datasets.

- Only denoisers that could be used in practice have a rank: kinds ``trained`` and ``classical``. Oracles, which see the
  clean image, optimal denoisers, which are computed from the distribution, and bounds are sorted by PSNR, too, but have
  no rank.
- Ranks are intervals. The low end is 1 + the number of entrants that are significantly better; the high end is the
  number of entrants less the number of entrants that are significantly worse. All pairs are tested simultaneously: a
  paired difference is significant if, in units of its spread, it exceeds the 95 % quantile of the largest such
  difference among all pairs. So all intervals hold together with a probability of 95 %.

The population of an interval of a mean over datasets depends on the number of datasets:

- Five or more datasets are treated as a sample of datasets. Whole datasets are resampled: intervals describe the gain
  on datasets of this kind, and ranks compare paired differences. The mean PSNR has no interval, since it would describe
  differences of many decibels between datasets rather than an entrant.
- With fewer datasets, intervals describe *these datasets*: images are resampled within each dataset, independently.
  There are no intervals if a dataset has too few images, or sources of images.

An entrant that is left out on any of the datasets (:mod:`gahbench.board.scorecube`) has no rank over datasets.

References
----------
Mogstad, Romano, Shaikh, Wilhelm, *Inference for ranks with applications to mobility across neighbourhoods and academic
achievement across countries*, Review of Economic Studies 91(1), 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from gahbench.board.facts import dataset_names
from gahbench.board.scorecube import LeftOut, psnr_cube, spreads_of
from gahbench.board.statistics import DRAWS, LEVEL, MIN_SOURCES, UNKNOWN, Array, Interval, bootstrap_means, estimates

if TYPE_CHECKING:
    from gahbench.board.board import Board
    from gahbench.board.tables import Tables

#: Kinds of denoisers that could be used in practice. They have ranks, and cannot be better than the optimum.
PRACTICAL_KINDS = ("trained", "classical")
_ROUNDING_DB = 1e-9  # Smaller differences in dB are rounding.
#: Minimum number of datasets for a mean over datasets.
MIN_DATASETS = 3
#: The population that intervals describe: datasets of this kind, or images and seeds of these datasets; empty without
#: intervals.
Cover = Literal["datasets", "images", ""]


def sorted_by_psnr(labels: Sequence[str], psnr: Array) -> list[str]:
    """Sort labels by PSNR, highest first, unknown last; labels with equal PSNR keep the order of the suite."""
    keys = np.where(np.isnan(psnr), np.inf, -psnr)
    return [labels[index] for index in np.argsort(keys, kind="stable")]


def rank_intervals(psnr: Array, draws: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ends of each entrant's interval of ranks, each of shape (E,); rank 1 is the best."""
    count = len(psnr)
    difference = psnr[:, None] - psnr[None, :]
    deviations = draws - psnr
    is_known = np.isfinite(deviations).all(axis=0)
    threshold = np.full(difference.shape, np.inf)
    if is_known.any():
        chosen = deviations[:, is_known]
        spread = np.stack([np.abs(chosen[:, [index]] - chosen).mean(axis=0) for index in range(chosen.shape[1])])
        differs = spread > _ROUNDING_DB
        largest = np.zeros(len(draws))
        for index in range(chosen.shape[1]):
            scaled = np.abs(chosen[:, [index]] - chosen)[:, differs[index]] / spread[index, differs[index]]
            largest = np.maximum(largest, scaled.max(axis=1, initial=0.0))
        threshold[np.ix_(is_known, is_known)] = _ROUNDING_DB + float(np.quantile(largest, LEVEL)) * spread * differs
    better = difference > threshold
    return 1 + better.sum(axis=0), count - better.sum(axis=1)


@dataclass(frozen=True)
class Overall:
    """Means of an entrant over datasets."""

    entrant: str
    kind: str
    rank: int | None
    rank_high: int | None
    psnr: Interval
    gain: Interval


@dataclass(frozen=True)
class OverDatasets:
    """Means over datasets of all entrants, and the population of their intervals."""

    rows: Sequence[Overall]
    datasets: int
    cover: Cover


def over_datasets(results: Tables, board: Board, left_out: LeftOut) -> OverDatasets:
    """Return means over datasets of the selected entrants; the board must hold all entrants, for the ranks."""
    complete, shown_datasets = results.selected_from or results, set(dataset_names(results))
    scored = [
        dataset_board
        for dataset_board in board.datasets
        if dataset_board.dataset in shown_datasets and dataset_board.is_known("psnr")
    ]
    kinds = {entry.entrant: entry.kind for dataset_board in scored for entry in dataset_board.entries if entry.kind}
    labels = [
        label for label in kinds if all(dataset_board.estimate(label, "psnr").is_known for dataset_board in scored)
    ]
    if len(scored) < MIN_DATASETS or not labels:
        return OverDatasets([], len(scored), "")
    # Means over images and noise levels, shape (E, K).
    psnr, gain = (
        np.array([[dataset_board.estimate(label, metric).value for dataset_board in scored] for label in labels])
        for metric in ("psnr", "gain_over_baseline")
    )
    cover: Cover = "datasets" if len(scored) >= MIN_SOURCES else "images"
    baseline_index = labels.index(complete.baseline) if complete.baseline in labels else None
    if cover == "datasets":
        draws = bootstrap_means(psnr[:, None], names=labels)
        gain_draws = bootstrap_means(gain[:, None], names=labels)
    else:
        draws = _draws_over_images(complete, left_out, [dataset_board.dataset for dataset_board in scored], labels)
        gain_draws = np.full_like(draws, np.nan) if baseline_index is None else draws - draws[:, [baseline_index]]
    if np.isnan(draws).any():
        cover = ""
    mean_psnr = psnr.mean(axis=1)
    psnr_intervals = (
        [Interval(float(value)) for value in mean_psnr] if cover == "datasets" else estimates(mean_psnr, draws)
    )
    unranked = {label for dataset_board in scored for label in left_out.get(dataset_board.dataset, {})}
    ranked = [
        index
        for index, label in enumerate(labels)
        if cover and kinds[label] in PRACTICAL_KINDS and label not in unranked
    ]
    lowest, highest = rank_intervals(mean_psnr[ranked], draws[:, ranked])
    ranks = {labels[index]: (int(best), int(worst)) for index, best, worst in zip(ranked, lowest, highest, strict=True)}
    rows = {}
    for label, psnr_of, gain_of in zip(labels, psnr_intervals, estimates(gain.mean(axis=1), gain_draws), strict=True):
        best, worst = ranks.get(label, (None, None))
        rows[label] = Overall(label, kinds[label], best, worst, psnr_of, gain_of if gain_of.is_known else UNKNOWN)
    sorted_rows = [rows[label] for label in sorted_by_psnr(labels, mean_psnr) if label in results.entrants]
    return OverDatasets(sorted_rows, len(scored), cover)


def _draws_over_images(results: Tables, left_out: LeftOut, datasets: Sequence[str], entrants: Sequence[str]) -> Array:
    """Return draws of the mean PSNR over datasets, shape (D, E); images and seeds are independent between datasets."""
    cubes = {dataset: psnr_cube(results, dataset, left_out) for dataset in dataset_names(results)}
    spreads = spreads_of(cubes)
    total: Array = np.zeros((DRAWS, len(entrants)))
    for dataset in datasets:
        cube = cubes[dataset]
        draws = cube.draws(spreads, crc32(dataset.encode())).mean(axis=2)
        total += draws[:, [cube.entrants.index(entrant) for entrant in entrants]] / len(datasets)
    return total
