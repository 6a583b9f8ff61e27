"""Order and ranks of entrants by their PSNR, and means over datasets.

- Only denoisers for practice have a rank: kinds ``trained`` and ``classical``. Oracles, which see the clean
  image, optimal denoisers, which are computed from the distribution, and bounds, stand in place, by PSNR, without one.
- The rank of an entrant is 1 + the number of entrants that are better than it, and the other end of the interval of its
  rank is the number of entrants less the number of those that it is better than. All pairs are compared at once: one is
  better where its paired difference, in units of its spread, is beyond what the largest of all pairs reaches in 95 % of
  the draws. So all intervals hold at once with that probability, in whatever order the entrants are.

What an interval of a mean over datasets covers depends on how many datasets there are:

- Five or more are a sample of datasets. Whole datasets are resampled, as images are within one: intervals are of the
  gain over datasets of this kind, and ranks are of paired differences. The mean PSNR has no interval: datasets differ
  by many decibels, which says nothing about an entrant.
- Of fewer, intervals are of *these datasets*: images of different datasets are independent, and resampled within each.
  There are none if one of the datasets has too few images, or sources of images, for intervals.

An entrant that is left out on any of the datasets (:mod:`gahbench.board.scorecube`) has no rank over them.

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

#: Kinds that could be used in practice: they have ranks, and the optimum is no worse than any of them.
PRACTICAL_KINDS = ("trained", "classical")
_TOLERANCE = 1e-9  # dB: below this a difference is rounding
#: With fewer datasets there is no mean over them.
FEWEST = 3
#: The population that intervals describe: datasets of this kind, images and seeds of these datasets, or none.
Cover = Literal["datasets", "images", ""]


def sorted_by_psnr(labels: Sequence[str], psnr: Array) -> list[str]:
    """Sort by PSNR, highest first, unknown last; equals stay in the order of the suite."""
    keys = np.where(np.isnan(psnr), np.inf, -psnr)
    return [labels[index] for index in np.argsort(keys, kind="stable")]


def rank_intervals(psnr: Array, draws: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lowest and the highest rank that each entrant may have, shape (E,); 1 is the best."""
    count = len(psnr)
    difference = psnr[:, None] - psnr[None, :]
    deviations = draws - psnr
    known = np.isfinite(deviations).all(axis=0)
    needed = np.full(difference.shape, np.inf)
    if known.any():
        chosen = deviations[:, known]
        spread = np.stack([np.abs(chosen[:, [one]] - chosen).mean(axis=0) for one in range(chosen.shape[1])])
        varies = spread > _TOLERANCE
        largest = np.zeros(len(draws))
        for one in range(chosen.shape[1]):
            scaled = np.abs(chosen[:, [one]] - chosen)[:, varies[one]] / spread[one, varies[one]]
            largest = np.maximum(largest, scaled.max(axis=1, initial=0.0))
        needed[np.ix_(known, known)] = _TOLERANCE + float(np.quantile(largest, LEVEL)) * spread * varies
    better = difference > needed
    return 1 + better.sum(axis=0), count - better.sum(axis=1)


@dataclass(frozen=True)
class Overall:
    """An entrant over datasets."""

    entrant: str
    kind: str
    rank: int | None
    rank_high: int | None
    psnr: Interval
    gain: Interval


@dataclass(frozen=True)
class OverDatasets:
    """The means over datasets."""

    rows: Sequence[Overall]
    datasets: int
    cover: Cover


def over_datasets(results: Tables, board: Board, out: LeftOut) -> OverDatasets:
    """Return the means over datasets of a board's entrants; the board is that of all, from which some are selected."""
    whole, shown = results.whole or results, set(dataset_names(results))
    scored = [one for one in board.datasets if one.dataset in shown and one.is_known("psnr")]
    kinds = {entry.entrant: entry.kind for one in scored for entry in one.entries if entry.kind}
    labels = [label for label in kinds if all(one.estimate(label, "psnr").is_known for one in scored)]
    if len(scored) < FEWEST or not labels:
        return OverDatasets([], len(scored), "")
    # Means over images and noise levels, shape (E, K).
    psnr, gain = (
        np.array([[one.estimate(label, metric).value for one in scored] for label in labels])
        for metric in ("psnr", "gain_over_baseline")
    )
    cover: Cover = "datasets" if len(scored) >= MIN_SOURCES else "images"
    at = labels.index(whole.baseline) if whole.baseline in labels else None
    if cover == "datasets":
        drawn = bootstrap_means(psnr[:, None], names=labels)
        gains = bootstrap_means(gain[:, None], names=labels)
    else:
        drawn = _drawn_by_images(whole, out, [one.dataset for one in scored], labels)
        gains = np.full_like(drawn, np.nan) if at is None else drawn - drawn[:, [at]]
    if np.isnan(drawn).any():
        cover = ""
    middle = psnr.mean(axis=1)
    shown_psnr = [Interval(float(value)) for value in middle] if cover == "datasets" else estimates(middle, drawn)
    unranked = {label for one in scored for label in out.get(one.dataset, {})}
    ranked = [
        index
        for index, label in enumerate(labels)
        if cover and kinds[label] in PRACTICAL_KINDS and label not in unranked
    ]
    low, high = rank_intervals(middle[ranked], drawn[:, ranked])
    ranks = {labels[index]: (int(best), int(worst)) for index, best, worst in zip(ranked, low, high, strict=True)}
    rows = {}
    for label, psnr_of, gain_of in zip(labels, shown_psnr, estimates(gain.mean(axis=1), gains), strict=True):
        best, worst = ranks.get(label, (None, None))
        rows[label] = Overall(label, kinds[label], best, worst, psnr_of, gain_of if gain_of.is_known else UNKNOWN)
    chosen = [rows[label] for label in sorted_by_psnr(labels, middle) if label in results.entrants]
    return OverDatasets(chosen, len(scored), cover)


def _drawn_by_images(results: Tables, out: LeftOut, datasets: Sequence[str], entrants: Sequence[str]) -> Array:
    """Return draws of the mean PSNR over datasets, shape (D, E), whose images and seeds are drawn apart."""
    cubes = {dataset: psnr_cube(results, dataset, out) for dataset in dataset_names(results)}
    spreads = spreads_of(cubes)
    total: Array = np.zeros((DRAWS, len(entrants)))
    for dataset in datasets:
        cube = cubes[dataset]
        drawn = cube.draws(spreads, crc32(dataset.encode())).mean(axis=2)
        total += drawn[:, [cube.entrants.index(entrant) for entrant in entrants]] / len(datasets)
    return total
