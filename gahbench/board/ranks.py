"""Order and ranks of entrants by their PSNR, and means over datasets.

- Only denoisers that could be used in practice have a rank: kinds ``trained`` and ``classical``. Oracles, which see the
  clean image, optimal denoisers, which are computed from the distribution, and bounds are sorted by PSNR, too, but have
  no rank.
- Ranks are intervals. The low end is 1 + the number of entrants that are significantly better; the high end is the
  number of entrants minus the number of entrants that are significantly worse. All pairs are tested simultaneously: a
  paired difference is significant if, in units of its spread, it exceeds the 95 % quantile of the largest such
  difference among all pairs. So all intervals hold together with a probability of 95 %.

Means over datasets answer two questions, in this order:

- **These datasets**: the mean over the datasets as they are. Images are shared between entrants. Datasets of one
  family may share images or noise by index: with the same noise, four families of C^alpha images that differ in alpha
  have correlated errors. So images of equal index are resampled together in all datasets with the same number of
  images, and the variance over images is that of the mean over these datasets; for independent images it is K^-2 times
  the sum over K datasets of s^2 / n over n images. Seeds are independent between datasets, and add K^-2 times the sum
  of s_seed^2 / R over R seeds. If a dataset has too few sources of images, its images are the units
  (:attr:`ScoreCube.is_fixed_set`). There are no intervals if a dataset has too few images.
- **A new dataset of this kind**, for paired gains only: the prediction interval d +- t s sqrt(1 + 1/K), where d and s
  are the mean and standard deviation of the K gains, and t is the 0.975 quantile of the t distribution with K - 1
  degrees of freedom. Datasets whose images are block averages of the same large images count once, with their mean
  gain; there is no interval for fewer than three datasets. The raw PSNR has no such interval, since it would describe
  differences of many decibels between datasets.

If the spread over seeds of a trained entrant is unknown on a dataset (:func:`knows_seeds`), intervals describe *these
weights*, and entrants of a training run are not compared with each other, neither on the dataset nor over datasets:
their ranks only count other entrants that are significantly better or worse. A network whose weights come from a file
is a given denoiser without seeds, and is compared as a classical one is.

An entrant that is left out on any of the datasets (:mod:`gahbench.board.scorecube`) has no rank over datasets.

References
----------
Mogstad, Romano, Shaikh, Wilhelm, *Inference for ranks with applications to mobility across neighbourhoods and academic
achievement across countries*, Review of Economic Studies 91(1), 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench.board.facts import dataset_names, rendered_families
from gahbench.board.scorecube import LeftOut, ScoreCube, psnr_cube, spreads_of
from gahbench.board.statistics import LEVEL, UNKNOWN, Array, Interval, SampledMeans, total

if TYPE_CHECKING:
    from gahbench.board.board import Board
    from gahbench.board.tables import Tables

#: Kinds of denoisers that could be used in practice. They have ranks, and cannot be better than the optimum.
PRACTICAL_KINDS = ("trained", "classical")
_ROUNDING_DB = 1e-9  # Smaller differences in dB are rounding.
#: Minimum number of datasets for a mean over datasets.
MIN_DATASETS = 3
#: What intervals of means over datasets describe: images and training seeds; images and *these weights*, if the spread
#: over seeds is unknown; images alone, if no entrant has seeds; empty without intervals.
IntervalScope = Literal["seeds", "weights", "images", ""]


def sorted_by_psnr(labels: Sequence[str], psnr: Array) -> list[str]:
    """Sort labels by PSNR, highest first, unknown last; labels with equal PSNR keep the order of the suite."""
    keys = np.where(np.isnan(psnr), np.inf, -psnr)
    return [labels[index] for index in np.argsort(keys, kind="stable")]


def rank_intervals(
    psnr: Array, draws: Array, is_compared: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ends of each entrant's interval of ranks, each of shape (E,); rank 1 is the best.

    ``is_compared``, shape (E, E) and symmetric, says which pairs are compared; by default, all pairs.
    """
    count = len(psnr)
    difference = psnr[:, None] - psnr[None, :]
    deviations = draws - psnr
    is_known = np.isfinite(deviations).all(axis=0)
    threshold = np.full(difference.shape, np.inf)
    if is_known.any():
        chosen = deviations[:, is_known]
        spread = np.stack([np.abs(chosen[:, [index]] - chosen).mean(axis=0) for index in range(chosen.shape[1])])
        differs = spread > _ROUNDING_DB
        if is_compared is not None:
            differs &= is_compared[np.ix_(is_known, is_known)]
        largest = np.zeros(len(draws))
        for index in range(chosen.shape[1]):
            scaled = np.abs(chosen[:, [index]] - chosen)[:, differs[index]] / spread[index, differs[index]]
            largest = np.maximum(largest, scaled.max(axis=1, initial=0.0))
        threshold[np.ix_(is_known, is_known)] = _ROUNDING_DB + float(np.quantile(largest, LEVEL)) * spread * differs
    if is_compared is not None:
        threshold[~is_compared] = np.inf
    better = difference > threshold
    return 1 + better.sum(axis=0), count - better.sum(axis=1)


def trained_in_runs(cube: ScoreCube, kinds: Mapping[str, str]) -> list[str]:
    """Return the entrants whose weights depend on a training seed, without networks whose weights come from a file."""
    return [label for label in cube.entrants if kinds.get(label) == "trained" and cube.seeds[label]]


def knows_seeds(cube: ScoreCube, trained: Sequence[str]) -> bool:
    """Return whether the spread over seeds of trained entrants is known, without entrants that are left out.

    It is known if the seeds of an entrant differ, since its variance is used for all, or if all have several seeds.
    """
    compared = [label for label in trained if label not in cube.left_out]
    return bool(spreads_of({"": cube})) or all(len(cube.seeds[label]) > 1 for label in compared)


def compared_pairs(is_trained: Sequence[bool], are_seeds_known: bool) -> NDArray[np.bool_]:
    """Return which pairs of entrants ranks compare, shape (E, E): trained entrants only if their spread is known."""
    trained = np.array(is_trained, dtype=np.bool_)
    return np.full((len(trained),) * 2, are_seeds_known) | ~np.outer(trained, trained)


@dataclass(frozen=True)
class Overall:
    """Means of an entrant over datasets, and the expected gain on a new dataset of this kind."""

    entrant: str
    kind: str
    rank: int | None
    rank_high: int | None
    psnr: Interval
    gain: Interval
    new_gain: Interval


@dataclass(frozen=True)
class OverDatasets:
    """Means over datasets of all entrants, what their intervals describe, and datasets whose images are a fixed set."""

    rows: Sequence[Overall]
    datasets: int
    interval_scope: IntervalScope
    fixed_sets: Sequence[str] = ()


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
    names = [dataset_board.dataset for dataset_board in scored]
    cubes = {name: psnr_cube(complete, name, left_out) for name in dataset_names(complete)}
    sample = _mean_over_datasets(cubes, names, labels)
    psnr = sample.values
    baseline = labels.index(complete.baseline) if complete.baseline in labels else None
    gains = [UNKNOWN] * len(labels) if baseline is None else _gains(sample, baseline)
    draws = sample.draws()
    trained = [label for label in trained_in_runs(cubes[names[0]], kinds) if label in labels]
    are_seeds_known = all(knows_seeds(cubes[name], trained) for name in names)
    interval_scope: IntervalScope = ""
    if not np.isnan(draws).any():
        interval_scope = "images" if not trained else "seeds" if are_seeds_known else "weights"
    unranked = {label for name in names for label in left_out.get(name, {})}
    ranked = [
        index
        for index, label in enumerate(labels)
        if interval_scope and kinds[label] in PRACTICAL_KINDS and label not in unranked
    ]
    is_compared = compared_pairs([labels[index] in trained for index in ranked], are_seeds_known)
    ends = rank_intervals(psnr[ranked], draws[:, ranked], is_compared)
    ranks = {labels[index]: (int(best), int(worst)) for index, best, worst in zip(ranked, *ends, strict=True)}
    groups = _independent_datasets(complete, names)
    gains_of_kind = [
        [
            np.mean([board.for_dataset(name).estimate(label, "gain_over_baseline").value for name in group])
            for group in groups
        ]
        for label in labels
    ]
    rows = {
        label: Overall(
            label,
            kinds[label],
            rank=ranks.get(label, (None, None))[0],
            rank_high=ranks.get(label, (None, None))[1],
            psnr=psnr_of,
            gain=gain,
            new_gain=prediction(own_gains),
        )
        for label, psnr_of, gain, own_gains in zip(labels, sample.intervals(), gains, gains_of_kind, strict=True)
    }
    sorted_rows = [rows[label] for label in sorted_by_psnr(labels, psnr) if label in results.entrants]
    return OverDatasets(sorted_rows, len(scored), interval_scope, [name for name in names if cubes[name].is_fixed_set])


def _mean_over_datasets(
    cubes: Mapping[str, ScoreCube], datasets: Sequence[str], entrants: Sequence[str]
) -> SampledMeans:
    """Return the mean PSNR over datasets, shape (E,), in which images of equal index belong together."""
    spreads = spreads_of(cubes)
    parts = []
    for dataset in datasets:
        rows = [cubes[dataset].entrants.index(entrant) for entrant in entrants]
        sample = cubes[dataset].sampled(spreads, crc32(dataset.encode()))
        parts.append(sample.apply(lambda array: array.mean(axis=-1) / len(datasets)).at(rows))
    return total(parts)


def _gains(sample: SampledMeans, baseline: int) -> list[Interval]:
    """Return the paired differences of means (E,) from the baseline."""
    return sample.apply(lambda array: array - array[..., [baseline]]).intervals()


def _independent_datasets(results: Tables, names: Sequence[str]) -> list[list[str]]:
    """Group datasets such that groups have different images."""
    families = [list(members.values()) for members in rendered_families(results).values()]
    group_of = {name: index for index, members in enumerate(families) for name in members}
    groups: dict[int | str, list[str]] = {}
    for name in names:
        groups.setdefault(group_of.get(name, name), []).append(name)
    return list(groups.values())


def prediction(gains: ArrayLike) -> Interval:
    """Return the mean of gains (K,) on K datasets with the 95 % prediction interval of the gain on another dataset."""
    from scipy.stats import t

    array = np.asarray(gains, dtype=np.float64)
    count, mean = len(array), float(np.mean(array))
    if np.isnan(mean) or count < MIN_DATASETS:
        return Interval(mean)
    half_width = float(t.ppf((1 + LEVEL) / 2, count - 1) * array.std(ddof=1) * np.sqrt(1 + 1 / count))
    return Interval(mean, mean - half_width, mean + half_width)
