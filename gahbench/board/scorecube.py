"""Dense arrays of scores from the tidy table, with axes for entrants, noise levels, seeds and images."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gahbench._util.errors import ResultsError
from gahbench._util.readable import level_name
from gahbench.board.facts import dataset_names, sources_of
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.seed_effects import Spread, pool
from gahbench.board.statistics import (
    DRAWS,
    MIN_SOURCES,
    Array,
    SampledMeans,
    means,
    sampled_means,
    seed_spreads,
)
from gahbench.board.tables import psnr_rows
from gahbench.evaluation.rates import input_psnr

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.tables import Tables

#: Reasons why entrants are left out of comparisons, by dataset and entrant.
LeftOut = Mapping[str, Mapping[str, str]]
#: Prefix of the reason why an entrant that has diverged is left out of comparisons.
DIVERGED = "diverged: "
#: A row has diverged if the PSNR of an image is below this, in dB, and also this far below the PSNR of the noisy image.
#: Its error is then ten times the largest error of any image with values in [0, 1], and ten times the error of the
#: noisy image.
DIVERGED_PSNR = -10.0
#: Prefix of the reason why an entrant with outlying seeds is left out of comparisons.
SEEDS_DIFFER = "its seeds differ far more than those of the other rows: "


@dataclass(frozen=True)
class ScoreCube:
    """The values of one metric on one dataset, shape (E, S, R, N): entrants, noise levels, runs and images.

    Image -1 stands for values without an image, and run -1 is the only run if no entrant has a training seed. ``seeds``
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

    def means(self) -> Array:
        """Return the means over seeds and images, shape (E, S)."""
        return means(self.values)

    @property
    def is_fixed_set(self) -> bool:
        """Whether there are too few sources to describe other sources, but enough images to describe these sources."""
        return self.sources is not None and len(set(self.sources)) < MIN_SOURCES <= len(self.images)

    def sampled(self, spreads: Mapping[str, Spread] | None = None, seed: int = 0) -> SampledMeans:
        """Return the means, shape (E, S), with their samples; :func:`sampled_means` defines the parameters.

        The units are sources of images, or images without sources. In a fixed set they are images, so that intervals
        describe these sources.
        """
        values, sources = self.values, None if self.is_fixed_set else self.sources
        if self.images == [-1] and len(self.runs) > 1:
            # Values of a training run do not vary over images, but an interval needs several units.
            values = values.repeat(MIN_SOURCES, axis=3)
        return sampled_means(values, DRAWS, seed, self.entrants, spreads, sources, excluded=self.left_out)

    @cached_property
    def shared_sample(self) -> SampledMeans:
        """The means with :attr:`spreads`, computed once."""
        return self.sampled(self.spreads)

    def reindex_like(self, other: ScoreCube) -> Array:
        """Return the values on the axes of another metric's cube; values that this cube lacks are NaN."""
        values = self.values
        if self.runs == [-1]:
            # Untrained entrants have the same values for each run.
            values = values.repeat(len(other.runs), axis=2)
        result = np.full(other.values.shape, np.nan)
        own_axes: list[list[Any]] = [self.entrants, self.sigmas, self.runs, self.images]
        other_axes: list[list[Any]] = [other.entrants, other.sigmas, other.runs, other.images]
        if self.runs == [-1]:
            own_axes[2] = other.runs
        for axes in (own_axes, other_axes):
            # NaN, which stands for values without a noise level, is not equal to itself.
            axes[1] = [None if np.isnan(sigma) else sigma for sigma in axes[1]]
        shared = [
            [name for name in own if name in set(others)] for own, others in zip(own_axes, other_axes, strict=True)
        ]
        indices = [
            [[axis.index(name) for name in names] for axis, names in zip(axes, shared, strict=True)]
            for axes in (other_axes, own_axes)
        ]
        result[np.ix_(*indices[0])] = values[np.ix_(*indices[1])]
        return result


def spreads_of(cubes: Mapping[str, ScoreCube]) -> dict[str, Spread]:
    """Return the spread over runs of each entrant, from datasets that include the entrant (:func:`seed_spreads`)."""
    arrays = {}
    for name, cube in cubes.items():
        indices = [index for index, label in enumerate(cube.entrants) if label not in cube.left_out]
        if indices:
            arrays[name] = (cube.values[indices], [cube.entrants[index] for index in indices])
    return seed_spreads(arrays)


def with_shared_spreads(cubes: Mapping[str, ScoreCube]) -> dict[str, ScoreCube]:
    """Return the cubes of a metric, by dataset, with the spreads over runs that boards use."""
    spreads = spreads_of(cubes)
    return {dataset: replace(cube, spreads=spreads) for dataset, cube in cubes.items()}


def score_cube(
    scores: pd.DataFrame,
    entrants: Sequence[str],
    omissions: pd.DataFrame | None = None,
    sources: Sequence[int] | None = None,
    left_out: Mapping[str, str] | None = None,
) -> ScoreCube:
    """Build the cube of the rows of one dataset, split and metric.

    ``omissions`` holds the rows of the part ``left-out`` of a metric that may leave out images, and may have no value
    for a seed or at a noise level. Means over seeds are not formed where a seed with such rows has no value, and levels
    with such rows belong to the cube even if no entrant has a value there.
    """
    present = set(scores["entrant"].unique())
    labels = [entrant for entrant in entrants if entrant in present]
    indices = {label: index for index, label in enumerate(labels)}
    rows = scores[scores["entrant"].isin(labels)]
    seed = rows["seed"].fillna(-1).to_numpy(dtype=np.int64)
    sigma = rows["sigma"].to_numpy(dtype=np.float64)
    measured = _measured_runs(omissions, indices)
    runs, sigmas = np.union1d(seed, measured[2]), np.union1d(sigma, measured[1])
    seed_index, sigma_index = np.searchsorted(runs, seed), np.searchsorted(sigmas, sigma)
    images, image_index = np.unique(rows["image"].fillna(-1).to_numpy(dtype=np.int64), return_inverse=True)
    entrant_index = rows["entrant"].map(indices).to_numpy(dtype=np.int64)

    shape = (len(labels), len(sigmas), len(runs), len(images))
    cell = (
        np.ravel_multi_index((entrant_index, sigma_index, seed_index, image_index), shape) if len(rows) else seed_index
    )
    count = np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape)
    if (count > 1).any():
        row = rows.iloc[int(np.flatnonzero(count.ravel()[cell] > 1)[0])]
        raise ResultsError(
            f"two rows of scores give {row['metric']} of '{row['entrant']}' on '{row['dataset']}', seed "
            f"{row['seed']}, sigma {row['sigma']}, image {row['image']}; expected one row: do not mix results "
            "of different protocols"
        )
    values = np.full(shape, np.nan)
    values.ravel()[cell] = rows["value"].to_numpy(dtype=np.float64)
    is_measured = np.zeros(shape[:3], dtype=np.bool_)
    is_measured[measured[0], np.searchsorted(sigmas, measured[1]), np.searchsorted(runs, measured[2])] = True
    values[(is_measured & ~(count > 0).any(axis=3)).any(axis=2)] = np.nan
    cube = _apply_rules(
        values, count > 0, labels, sigmas.tolist(), runs.tolist(), images.tolist(), omissions is not None
    )
    cube.left_out.update((label, reason) for label, reason in (left_out or {}).items() if label in indices)
    if sources is None or np.isnan(sigmas).any() or not all(0 <= image < len(sources) for image in cube.images):
        return cube
    return replace(cube, sources=tuple(sources[image] for image in cube.images))


def _measured_runs(
    omissions: pd.DataFrame | None, indices: Mapping[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the entrant, noise level and seed of each run in the rows of the part ``left-out`` of a metric."""
    if omissions is None:
        return np.empty(0, dtype=np.int64), np.empty(0), np.empty(0, dtype=np.int64)
    runs = omissions.loc[omissions["entrant"].isin(list(indices)), ["entrant", "sigma", "seed"]].drop_duplicates()
    entrant, seed = runs["entrant"].map(indices), runs["seed"].fillna(-1)
    return np.asarray(entrant, dtype=np.int64), np.asarray(runs["sigma"], dtype=np.float64), np.asarray(seed, np.int64)


def cubes_by_images(
    tables: Sequence[tuple[pd.DataFrame, pd.DataFrame | None]],
    entrants: Sequence[str],
    sources: Sequence[int] | None,
    left_out: Mapping[str, str] | None,
) -> Iterator[list[ScoreCube]]:
    """Yield the cubes of several metrics for each group of entrants scored on the same images.

    Each table holds the rows of a metric, and the rows of its part ``left-out`` if it may leave out images.
    """
    images = {str(label): frozenset(rows["image"].dropna()) for label, rows in tables[0][0].groupby("entrant")}
    images = {label: entrant_images for label, entrant_images in images.items() if label in entrants}
    for shared_images in dict.fromkeys(images.values()):
        labels = [label for label in entrants if images.get(label) == shared_images]
        yield [score_cube(rows, labels, omissions, sources, left_out) for rows, omissions in tables]


def left_out_part(metric: str) -> str:
    """Return the name of the part in which a metric that may leave out images reports these images."""
    return f"{parse_metric_name(metric).label}.left-out"


def rows_with_left_out(scores: pd.DataFrame, metric: str) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the rows of a metric, and the rows of its part ``left-out``, if any, among rows of one dataset."""
    omissions = scores[scores["metric"] == left_out_part(metric)]
    return scores[scores["metric"] == metric], None if omissions.empty else omissions


def _apply_rules(
    values: Array,
    is_present: NDArray[np.bool_],
    labels: list[str],
    sigmas: list[float],
    runs: list[int],
    images: list[int],
    may_omit: bool,
) -> ScoreCube:
    """Build a cube: set invalid values to NaN, note problems, and repeat the values of entrants without seeds."""
    is_not_finite: NDArray[np.bool_] = np.asarray((is_present & ~np.isfinite(values)).any(axis=(2, 3)))
    is_partial: NDArray[np.bool_] = np.asarray(is_present.any(axis=3) & ~is_present.all(axis=3))
    # A value without a noise level may belong to a sample, and samples that did not converge have no value.
    may_be_missing = np.isnan(sigmas) | may_omit
    is_partial[:, may_be_missing] = False
    values[is_partial] = np.nan
    values[is_not_finite] = np.nan
    problems = {
        label: f"images are missing at {_format_levels(sigmas, row.any(axis=1))}"
        for label, row in zip(labels, is_partial, strict=True)
        if row.any()
    }
    left_out = {
        label: f"{DIVERGED}not finite at {_format_levels(sigmas, row)}"
        for label, row in zip(labels, is_not_finite, strict=True)
        if row.any()
    }
    is_complete = np.asarray((np.isfinite(values) | (may_be_missing[:, None, None] & ~is_present)).all(axis=3))
    is_complete &= np.isfinite(values).any(axis=3)
    has_complete_level: NDArray[np.bool_] = np.asarray(is_complete.any(axis=1))

    def seeds_by_label(is_chosen: NDArray[np.bool_]) -> dict[str, list[int]]:
        return {
            label: [run for run, is_kept in zip(runs, row, strict=True) if is_kept and run >= 0]
            for label, row in zip(labels, is_chosen, strict=True)
        }

    seeds, scored = seeds_by_label(has_complete_level), seeds_by_label(np.asarray(is_present.any(axis=(1, 3))))
    if runs and runs[0] == -1 and len(runs) > 1:
        has_no_seed = is_present[:, :, 0, :].any(axis=(1, 2))
        values[has_no_seed] = values[has_no_seed][:, :, :1, :]
        values, runs = values[:, :, 1:, :], runs[1:]
    return ScoreCube(values, labels, sigmas, runs, images, seeds, scored, problems, left_out)


def _format_levels(sigmas: list[float], is_chosen: Iterable[Any]) -> str:
    return "σ = " + ", ".join(level_name(sigma) for sigma, is_kept in zip(sigmas, is_chosen, strict=True) if is_kept)


# Tables of margins ask for the rows of the same results many times.
@lru_cache(maxsize=2)
def left_out_rows(results: Tables) -> dict[str, dict[str, str]]:
    """Return why entrants are left out of comparisons, by dataset; a selection follows the complete results."""
    complete = results.selected_from or results
    return {dataset: find_left_out(psnr_cube(complete, dataset, {})) for dataset in dataset_names(complete)}


def find_left_out(cube: ScoreCube) -> dict[str, str]:
    """Return the entrants that are left out of comparisons on a dataset, with the reason as text for a note."""
    reasons = dict(cube.left_out)
    if not cube.entrants:
        return reasons
    thresholds = np.minimum(DIVERGED_PSNR + input_psnr(cube.sigmas), DIVERGED_PSNR)
    # Missing values are NaN, and must not count as low.
    lowest = np.where(np.isnan(cube.values), np.inf, cube.values).min(axis=(2, 3))
    for label, row in zip(cube.entrants, lowest, strict=True):
        if label not in reasons and (row < thresholds).any():
            worst = int(np.argmin(row - thresholds))
            reasons[label] = f"{DIVERGED}an image has {row[worst]:.1f} dB at σ = {level_name(cube.sigmas[worst])}"
    excluded = [index for index, label in enumerate(cube.entrants) if label in reasons]
    pooled = pool(means(cube.values[..., None, :]), None, excluded)
    for index, outlier in pooled.outliers.items():
        scale, unit = (100, "%") if outlier.relative else (1, "dB")
        spread, median = (f"{scale * value:.2g} {unit}" for value in (outlier.spread, outlier.median))
        level = level_name(cube.sigmas[outlier.level])
        reasons[cube.entrants[index]] = f"{SEEDS_DIFFER}by {spread} at σ = {level}, those of the median row by {median}"
    return reasons


@dataclass(frozen=True)
class Ratio:
    """Names of a ratio, its numerator and its denominator in the table of scores."""

    metric: str
    numerator: str
    denominator: str


def ratios_of(results: Tables) -> list[Ratio]:
    """Return the ratios of a suite's metrics."""
    return [Ratio(*map(str, row)) for row in results.ratios.itertuples(index=False, name=None)]


def join_levels(first: ScoreCube, second: ScoreCube) -> ScoreCube:
    """Return the numerators and denominators of ratios as one cube with 2 S levels."""
    left_out = first.left_out | {label: reason for label, reason in second.left_out.items() if label in first.entrants}
    values = np.concatenate([first.values, second.reindex_like(first)], axis=1)
    return replace(first, values=values, sigmas=first.sigmas * 2, left_out=left_out)


def decibels(ratio: Array) -> Array:
    """Return ratios of powers in decibels."""
    # An exact output has error 0, so the ratio of its error is -inf dB.
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(ratio))


def quotient(values: Array) -> Array:
    """Return ratios, shape (..., S), of means (..., 2 S); NaN if the denominator is not above 0."""
    numerators, denominators = np.split(values, 2, axis=-1)
    return np.where(denominators > 0, numerators / np.where(denominators > 0, denominators, 1.0), np.nan)


def sampled_quotient(cube: ScoreCube, spreads: Mapping[str, Spread] | None = None) -> SampledMeans:
    """Return ratios of means, shape (E, S), of a cube of 2 S levels, with deviations to first order."""
    sample = cube.sampled(spreads)
    _, denominators = np.split(sample.values, 2, axis=-1)
    ratios = quotient(sample.values)

    def to_first_order(deviations: Array) -> Array:
        above, below = np.split(deviations, 2, axis=-1)
        return np.asarray((above - ratios * below) / np.where(denominators > 0, denominators, np.nan))

    return sample.apply(to_first_order, ratios)


def psnr_cube(results: Tables, dataset: str, left_out: LeftOut) -> ScoreCube:
    """Return the PSNR of a dataset's test images as a cube; ``left_out`` marks entrants to leave out of comparisons."""
    rows = psnr_rows(results.scores, dataset)
    rows = rows[rows["sigma"].notna()]
    return score_cube(rows, results.entrants, sources=sources_of(results, dataset), left_out=left_out.get(dataset))


def metric_cubes(
    results: Tables, left_out: LeftOut, only: Collection[str] | None = None
) -> dict[str, dict[str, ScoreCube]]:
    """Return a cube of test images for each metric and dataset, by the metric's name in the table and by dataset."""
    scores = results.scores
    scores = scores[(scores["split"] == "test") & ~scores["metric"].isin(("psnr", "slope"))]
    cubes: dict[str, dict[str, ScoreCube]] = {}
    if only is not None:
        scores = scores[scores["metric"].isin({*only, *map(left_out_part, only)})]
    groups = scores.groupby(["dataset", "metric"], sort=False)
    tables = {(str(dataset), str(metric)): rows for (dataset, metric), rows in groups}
    for (dataset, metric), rows in tables.items():
        if only is None or metric in only:
            omissions = tables.get((dataset, left_out_part(metric)))
            sources = sources_of(results, dataset)
            cube = score_cube(rows, results.entrants, omissions, sources, left_out.get(dataset))
            cubes.setdefault(metric, {})[dataset] = cube
    return dict(sorted(cubes.items()))


def psnr_cubes(results: Tables, left_out: LeftOut) -> dict[str, ScoreCube]:
    """Return the cube of PSNR of each dataset that has PSNR values (:func:`psnr_cube`)."""
    cubes = {str(dataset): psnr_cube(results, str(dataset), left_out) for dataset in results.datasets["dataset"]}
    return with_shared_spreads({dataset: cube for dataset, cube in cubes.items() if cube.entrants})
