"""Order and ranks of entrants by their PSNR, and means over datasets.

- Only denoisers that could be used in practice have a rank: kinds ``trained`` and ``classical``. Oracles, which see the
  clean image, optimal denoisers, which are computed from the distribution, and bounds are sorted by PSNR, too, but have
  no rank.
- Ranks are intervals. The low end is 1 + the number of entrants that are significantly better; the high end is the
  number of entrants minus the number of entrants that are significantly worse. All pairs are tested simultaneously: a
  paired difference is significant if, in units of its spread, it exceeds the 95 % quantile of the largest such
  difference among all pairs. So all intervals hold together with a probability of 95 %.

Means over datasets describe the datasets as they are. Images are shared between entrants. Datasets of one family may
share images or noise by index: with the same noise, four families of C^alpha images that differ in alpha have
correlated errors. So images of equal index are resampled together in all datasets with the same number of images, and
the variance over images is that of the mean over these datasets; for independent images it is K^-2 times the sum over K
datasets of s^2 / n over n images. Seeds are independent between datasets, and add K^-2 times the sum of s_seed^2 / R
over R seeds. If a dataset has too few sources of images, its images are the units (:attr:`ScoreCube.is_fixed_set`).
There are no intervals if a dataset has too few images.

If the spread over seeds of a trained entrant is unknown on a dataset (:func:`knows_seeds`), intervals describe *these
weights*, and entrants of a training run are not compared with each other, neither on the dataset nor over datasets:
their ranks only count other entrants that are significantly better or worse. A network whose weights come from a file
is a given denoiser without seeds, and is compared as a classical one is.

An entrant that is left out on any of the datasets (:mod:`gahbench.board.cube`) has no rank over datasets.

References
----------
Mogstad, Romano, Shaikh, Wilhelm, *Inference for ranks with applications to mobility across neighbourhoods and academic
achievement across countries*, Review of Economic Studies 91(1), 2024.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from gahbench.board.cube import ScoreCube, psnr_cubes, spreads_of
from gahbench.board.facts import dataset_names
from gahbench.board.statistics import LEVEL, UNKNOWN, Array, Interval, SampledMeans, total

if TYPE_CHECKING:
    from gahbench.board.results import Results

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
    deviations = draws - psnr
    is_compared = np.ones((count, count), dtype=np.bool_) if is_compared is None else is_compared
    is_known = np.isfinite(deviations).all(axis=0)
    pairs = np.outer(is_known, is_known) & is_compared
    spread, largest = np.zeros((count, count)), np.zeros(len(draws))
    for index in np.flatnonzero(is_known):
        differences = np.abs(deviations[:, [index]] - deviations)
        spread[index] = differences.mean(axis=0)
        chosen = pairs[index] & (spread[index] > _ROUNDING_DB)
        largest = np.maximum(largest, (differences[:, chosen] / spread[index, chosen]).max(axis=1, initial=0.0))
    threshold = _ROUNDING_DB + np.where(spread > _ROUNDING_DB, float(np.quantile(largest, LEVEL)) * spread, 0.0)
    better = pairs & (psnr[:, None] - psnr[None, :] > threshold)
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


def rank_entrants(
    labels: Sequence[str],
    sample: SampledMeans,
    kinds: Mapping[str, str],
    unranked: Collection[str],
    trained: Collection[str],
    are_seeds_known: bool,
) -> dict[str, tuple[int | None, int | None]]:
    """Return the ends of the rank of each entrant that has one; trained ones are compared if their spread is known."""
    draws = sample.draws()
    is_practical = [kinds.get(label) in PRACTICAL_KINDS and label not in unranked for label in labels]
    indices = np.flatnonzero(np.array(is_practical) & np.isfinite(draws).all(axis=0)).tolist()
    ranked = [labels[index] for index in indices]
    is_trained = np.array([label in trained for label in ranked], dtype=np.bool_)
    is_compared = np.full((len(ranked),) * 2, are_seeds_known) | ~np.outer(is_trained, is_trained)
    low, high = rank_intervals(sample.values[indices], draws[:, indices], is_compared)
    return dict(zip(ranked, zip(low.tolist(), high.tolist(), strict=True), strict=True))


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
    """Means over datasets of all entrants, what their intervals describe, and datasets whose images are a fixed set."""

    rows: Sequence[Overall]
    datasets: int
    interval_scope: IntervalScope
    fixed_sets: Sequence[str] = ()


def over_datasets(results: Results) -> OverDatasets:
    """Return means over datasets of the selected entrants; ranks and intervals are those of the complete results."""
    complete, shown = results.complete, set(dataset_names(results))
    scored = [part for part in complete.board.datasets if part.dataset in shown and part.is_known("psnr")]
    kinds = {entry.entrant: entry.kind for part in scored for entry in part.entries if entry.kind}
    labels = [label for label in kinds if all(part.estimate(label, "psnr").is_known for part in scored)]
    if len(scored) < MIN_DATASETS or not labels:
        return OverDatasets([], len(scored), "")
    all_cubes = psnr_cubes(complete)
    cubes = {part.dataset: all_cubes[part.dataset] for part in scored}
    parts = []
    for name, cube in cubes.items():
        sample = cube.sampled(crc32(name.encode())).apply(lambda array: array.mean(axis=-1) / len(cubes))
        parts.append(sample.at([cube.entrants.index(label) for label in labels]))
    mean = total(parts)
    gains = [UNKNOWN] * len(labels)
    if complete.baseline in labels:
        baseline = labels.index(complete.baseline)
        gains = mean.apply(lambda array: array - array[..., [baseline]]).intervals()
    trained = [label for label in trained_in_runs(next(iter(cubes.values())), kinds) if label in labels]
    are_seeds_known = all(knows_seeds(cube, trained) for cube in cubes.values())
    interval_scope: IntervalScope = ""
    ranks: dict[str, tuple[int | None, int | None]] = {}
    if not np.isnan(mean.draws()).any():
        interval_scope = "images" if not trained else "seeds" if are_seeds_known else "weights"
        unranked = {label for name in cubes for label in results.left_out.get(name, {})}
        ranks = rank_entrants(labels, mean, kinds, unranked, trained, are_seeds_known)
    rows_by_label = {
        label: Overall(label, kinds[label], *ranks.get(label, (None, None)), psnr, gain)
        for label, psnr, gain in zip(labels, mean.intervals(), gains, strict=True)
    }
    shown_rows = [rows_by_label[label] for label in sorted_by_psnr(labels, mean.values) if label in results.entrants]
    return OverDatasets(shown_rows, len(cubes), interval_scope, [name for name in cubes if cubes[name].is_fixed_set])
