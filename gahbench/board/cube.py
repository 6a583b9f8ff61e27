"""Dense arrays of scores from the tidy table, with axes for entrants, noise levels, seeds and images."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench._util.errors import ResultsError
from gahbench._util.readable import level_name
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.seed_effects import Spread
from gahbench.board.statistics import (
    DRAWS,
    MIN_SOURCES,
    Array,
    SampledMeans,
    divide,
    sampled_means,
    seed_spreads,
)
from gahbench.board.tables import sources_of
from gahbench.evaluation.rates import input_psnr

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results

Flags = NDArray[np.bool_]

#: Prefix of the reason why an entrant that has diverged is left out of comparisons.
DIVERGED = "diverged: "
#: A row has diverged if the PSNR of an image is below this, in dB, and also this far below the PSNR of the noisy image.
#: Its error is then ten times the largest error of any image with values in [0, 1], and ten times the error of the
#: noisy image.
DIVERGED_PSNR = -10.0
#: The run of values without a training seed, and the image of values without an image.
NONE = -1


@dataclass(frozen=True)
class ScoreCube:
    """The values of one metric on one dataset, shape (E, S, R, N): entrants, noise levels, runs and images.

    Run -1 is the only run if no entrant has a training seed, and image -1 is that of values without an image. ``seeds``
    lists the seeds of each entrant that are complete at one noise level or more, and ``scored`` all seeds with values.
    ``spreads`` holds the spread over runs of each entrant on all datasets, ``None`` for the spreads on this dataset.
    """

    values: Array
    entrants: list[str]
    sigmas: list[float]
    runs: list[int]
    images: list[int]
    seeds: dict[str, list[int]]
    scored: dict[str, list[int]]
    problems: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    sources: tuple[int, ...] | None = None
    spreads: Mapping[str, Spread] | None = None

    @property
    def is_fixed_set(self) -> bool:
        """Whether there are too few sources to describe other sources, but enough images to describe these sources."""
        return self.sources is not None and len(set(self.sources)) < MIN_SOURCES <= len(self.images)

    def sampled(self, seed: int = 0) -> SampledMeans:
        """Return the means, shape (E, S), with their samples; :func:`sampled_means` defines the parameters.

        The units are sources of images, or images without sources. In a fixed set they are images, so that intervals
        describe these sources.
        """
        values, sources = self.values, None if self.is_fixed_set else self.sources
        if self.images == [NONE] and len(self.runs) > 1:
            # Values of a training run do not vary over images, but an interval needs several units.
            values = values.repeat(MIN_SOURCES, axis=3)
        return sampled_means(values, DRAWS, seed, self.entrants, self.spreads, sources, excluded=self.left_out)

    @cached_property
    def shared_sample(self) -> SampledMeans:
        """The means with their samples, computed once."""
        return self.sampled()

    def without_copies(self) -> ScoreCube:
        """Return the cube with one image, so that intervals are over runs, if each run has one value for all images."""
        low, high = np.fmin.reduce(self.values, axis=3), np.fmax.reduce(self.values, axis=3)
        if len(self.images) < 2 or not np.array_equal(low, high, equal_nan=True):
            return self
        return replace(self, values=low[..., None], images=[NONE], sources=None)

    def reindex_like(self, other: ScoreCube) -> Array:
        """Return the values on the axes of another metric's cube; values that this cube lacks are NaN."""
        has_no_seed = self.runs == [NONE]
        values, runs = (
            (self.values.repeat(len(other.runs), axis=2), other.runs) if has_no_seed else (self.values, self.runs)
        )
        # NaN, which stands for values without a noise level, is not equal to itself.
        sigmas, other_sigmas = (np.nan_to_num(cube.sigmas, nan=np.inf).tolist() for cube in (self, other))
        axes = (self.entrants, sigmas, runs, self.images)
        other_axes = (other.entrants, other_sigmas, other.runs, other.images)
        # The last index of each axis is that of missing values.
        indices = [
            [own.index(key) if key in own else -1 for key in keys] for own, keys in zip(axes, other_axes, strict=True)
        ]
        return np.pad(values, (0, 1), constant_values=np.nan)[np.ix_(*indices)]


def spreads_of(cubes: Iterable[ScoreCube]) -> dict[str, Spread]:
    """Return the spread over runs of each entrant, from datasets that include the entrant (:func:`seed_spreads`)."""
    arrays = []
    for cube in cubes:
        kept = [index for index, label in enumerate(cube.entrants) if label not in cube.left_out]
        if kept:
            arrays.append((cube.values[kept], [cube.entrants[index] for index in kept]))
    return seed_spreads(arrays)


def share_spreads(cubes: Mapping[str, ScoreCube]) -> dict[str, ScoreCube]:
    """Return the cubes of datasets with the spreads of their entrants on all datasets."""
    spreads = spreads_of(cubes.values())
    return {name: replace(cube, spreads=spreads) for name, cube in cubes.items()}


def metric_cube(
    results: Results,
    dataset: str,
    metric: str,
    split: str = "test",
    entrants: Sequence[str] | None = None,
    left_out: Mapping[str, Mapping[str, str]] | None = None,
) -> ScoreCube:
    """Build the cube of a dataset, split and metric; ``left_out`` marks entrants to leave out of comparisons.

    The part ``left-out`` of a metric that may leave out images tells which seeds and levels may have no value. Means
    over seeds are not formed where such a seed has no value, and such levels belong to the cube even if no entrant has
    a value there.
    """
    nothing = results.scores[:0]
    scores = results.rows.get((dataset, split, metric), nothing)
    omissions = results.rows.get((dataset, split, left_out_part(metric)))
    scored = set(scores["entrant"].unique())
    labels = [entrant for entrant in (results.entrants if entrants is None else entrants) if entrant in scored]
    measured = nothing if omissions is None else omissions
    scores, measured = (table[table["entrant"].isin(labels)] for table in (scores, measured))
    shared = (np.union1d(_numbers(scores, name), _numbers(measured, name)) for name in ("sigma", "seed"))
    axes = dict(zip(("sigma", "seed", "image"), (*shared, np.unique(_numbers(scores, "image"))), strict=True))

    def indices(table: pd.DataFrame, *columns: str) -> tuple[NDArray[np.int64], ...]:
        """Return the indices of rows on the axis of entrants and on those of columns."""
        entrants = table["entrant"].map(labels.index).to_numpy(np.int64)
        return (entrants, *(np.searchsorted(axes[name], _numbers(table, name)) for name in columns))

    values = np.full((len(labels), *map(len, axes.values())), np.nan)
    values[indices(scores, *axes)] = _numbers(scores, "value")
    is_present = ~np.isnan(values)
    if is_present.sum() < len(scores):
        row = scores[scores.duplicated(["entrant", "sigma", "seed", "image"])].iloc[0]
        raise ResultsError(
            f"two rows of scores give {row['metric']} of '{row['entrant']}' on '{row['dataset']}', seed "
            f"{row['seed']}, sigma {row['sigma']}, image {row['image']}; expected one row: do not mix results "
            "of different protocols"
        )
    is_measured = np.zeros(values.shape[:3], dtype=np.bool_)
    is_measured[indices(measured, "sigma", "seed")] = True
    # A value without a noise level may belong to a sample, and samples that did not converge have no value.
    may_be_missing = np.isinf(axes["sigma"]) | (omissions is not None)
    cube = _apply_rules(values, is_measured, may_be_missing, labels, axes)
    reasons = (results.left_out if left_out is None else left_out).get(dataset, {})
    cube.left_out.update((label, reason) for label, reason in reasons.items() if label in labels)
    sources = sources_of(results, dataset) if split == "test" else None
    if sources is None or np.isnan(cube.sigmas).any() or not all(0 <= image < len(sources) for image in cube.images):
        return cube
    return replace(cube, sources=tuple(sources[image] for image in cube.images))


def _numbers(table: pd.DataFrame, column: str) -> Array:
    """Return a column; missing noise levels are infinite, so they come last, and missing values are not finite."""
    return table[column].to_numpy(np.float64, na_value=NONE if column in ("seed", "image") else np.inf)


def _apply_rules(
    values: Array, is_measured: Flags, may_be_missing: Flags, labels: list[str], axes: Mapping[str, Array]
) -> ScoreCube:
    """Build a cube: set invalid values to NaN, note problems, and repeat the values of entrants without seeds."""
    runs, images = (axes[name].astype(int).tolist() for name in ("seed", "image"))
    levels = np.where(np.isinf(axes["sigma"]), np.nan, axes["sigma"])
    is_present = ~np.isnan(values)
    has_rows, is_not_finite = is_present.any(axis=3), np.isinf(values).any(axis=(2, 3))
    is_partial = has_rows & ~is_present.all(axis=3) & ~may_be_missing[:, None]
    values[is_partial] = values[is_not_finite | (is_measured & ~has_rows).any(axis=2)] = np.nan

    def notes(prefix: str, is_chosen: ArrayLike) -> dict[str, str]:
        """Return a note for each entrant with chosen levels, shape (E, S)."""
        chosen = {label: levels[row] for label, row in zip(labels, np.asarray(is_chosen), strict=True) if row.any()}
        return {label: f"{prefix} at σ = {', '.join(map(level_name, own))}" for label, own in chosen.items()}

    def seeds(is_chosen: ArrayLike) -> dict[str, list[int]]:
        """Return the seeds of each entrant that are chosen at any level, of shape (E, S, R)."""
        numbers = [np.array(runs)[row].tolist() for row in np.asarray(np.any(is_chosen, axis=1))]
        return {label: [run for run in own if run != NONE] for label, own in zip(labels, numbers, strict=True)}

    facts = (
        seeds(np.isfinite(values).any(axis=3)),
        seeds(has_rows),
        notes("images are missing", is_partial.any(axis=2)),
        notes(f"{DIVERGED}not finite", is_not_finite),
    )
    if len(runs) > 1 and runs[0] == NONE:
        has_no_seed = is_present[:, :, 0].any(axis=(1, 2))
        values[has_no_seed] = values[has_no_seed][:, :, :1]
        values, runs = values[:, :, 1:], runs[1:]
    return ScoreCube(values, labels, levels.tolist(), runs, images, *facts)


def cubes_by_images(
    results: Results, dataset: str, metrics: Sequence[str], split: str, entrants: Sequence[str]
) -> Iterator[list[ScoreCube]]:
    """Yield the cubes of several metrics for each group of entrants scored on the same images."""
    if not all((dataset, split, metric) in results.rows for metric in metrics):
        return
    by_entrant = results.rows[dataset, split, metrics[0]].groupby("entrant")["image"]
    images = {str(label): frozenset(numbers.dropna()) for label, numbers in by_entrant}
    known = [label for label in entrants if label in images]
    for shared_images in dict.fromkeys(images[label] for label in known):
        labels = [label for label in known if images[label] == shared_images]
        yield [metric_cube(results, dataset, metric, split, labels) for metric in metrics]


def left_out_part(metric: str) -> str:
    """Return the name of the part in which a metric that may leave out images reports these images."""
    return f"{parse_metric_name(metric).label}.left-out"


def left_out_rows(results: Results) -> dict[str, dict[str, str]]:
    """Return why entrants are left out of comparisons, by dataset; a selection follows the complete results."""
    reasons_by_dataset = {}
    for dataset in results.complete.facts:
        cube = metric_cube(results.complete, dataset, "psnr", left_out={})
        thresholds = np.minimum(DIVERGED_PSNR + input_psnr(cube.sigmas), DIVERGED_PSNR)
        reasons = reasons_by_dataset[dataset] = dict(cube.left_out)
        for label, values in zip(cube.entrants, cube.values, strict=True):
            # Missing values are NaN, and must not count as low.
            lowest = np.where(np.isnan(values), np.inf, values).min(axis=(1, 2))
            worst = int(np.argmin(lowest - thresholds))
            if label not in reasons and lowest[worst] < thresholds[worst]:
                level = level_name(cube.sigmas[worst])
                reasons[label] = f"{DIVERGED}an image has {lowest[worst]:.1f} dB at σ = {level}"
    return reasons_by_dataset


def ratios_of(results: Results) -> dict[str, tuple[str, str]]:
    """Return the numerator and the denominator of each ratio of a suite's metrics."""
    return {metric: (above, below) for metric, above, below in results.ratios.itertuples(index=False, name=None)}


def join_levels(first: ScoreCube, second: ScoreCube) -> ScoreCube:
    """Return the numerators and denominators of ratios as one cube with 2 S levels."""
    left_out = first.left_out | {label: reason for label, reason in second.left_out.items() if label in first.entrants}
    values = np.concatenate([first.values, second.reindex_like(first)], axis=1)
    return replace(first, values=values, sigmas=first.sigmas * 2, left_out=left_out)


def sampled_quotient(cube: ScoreCube) -> SampledMeans:
    """Return ratios of means, shape (E, S), of a cube of 2 S levels (:func:`divide`)."""
    sample, count = cube.sampled(), len(cube.sigmas) // 2
    return divide(sample.at(range(count)), sample.at(range(count, 2 * count)), is_certain=False)


def metric_cubes(results: Results, only: Collection[str] | None = None) -> dict[str, dict[str, ScoreCube]]:
    """Return a cube of test images for each metric but PSNR, by its name in the table and by dataset."""
    cubes: dict[str, dict[str, ScoreCube]] = {}
    for dataset, split, metric in results.rows:
        if split == "test" and metric not in ("psnr", "slope") and (only is None or metric in only):
            cubes.setdefault(metric, {})[dataset] = metric_cube(results, dataset, metric)
    return dict(sorted(cubes.items()))
