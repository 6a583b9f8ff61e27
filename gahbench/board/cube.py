"""Dense arrays of scores from the tidy table, with axes for entrants, noise levels, seeds and images."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench._util.errors import ResultsError
from gahbench._util.readable import level_name
from gahbench.board.facts import dataset_names, sources_of
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.seed_effects import Spread
from gahbench.board.statistics import (
    DRAWS,
    MIN_SOURCES,
    Array,
    SampledMeans,
    divide,
    means,
    sampled_means,
    seed_spreads,
)
from gahbench.evaluation.rates import input_psnr

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results

#: Reasons why entrants are left out of comparisons, by dataset and entrant.
LeftOut = Mapping[str, Mapping[str, str]]
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

    def means(self) -> Array:
        """Return the means over seeds and images, shape (E, S)."""
        return means(self.values)

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

    def reindex_like(self, other: ScoreCube) -> Array:
        """Return the values on the axes of another metric's cube; values that this cube lacks are NaN."""
        has_no_seed = self.runs == [NONE]
        values = self.values.repeat(len(other.runs), axis=2) if has_no_seed else self.values
        # NaN, which stands for values without a noise level, is not equal to itself.
        sigmas, other_sigmas = (np.nan_to_num(cube.sigmas, nan=np.inf) for cube in (self, other))
        axes: list[tuple[ArrayLike, ArrayLike]] = [
            (self.entrants, other.entrants),
            (sigmas, other_sigmas),
            (other.runs if has_no_seed else self.runs, other.runs),
            (self.images, other.images),
        ]
        shared = [np.intersect1d(np.array(own), np.array(target), return_indices=True) for own, target in axes]
        own, target = ([indices[end] for indices in shared] for end in (1, 2))
        result = np.full(other.values.shape, np.nan)
        result[np.ix_(*target)] = values[np.ix_(*own)]
        return result


def spreads_of(cubes: Mapping[str, ScoreCube]) -> dict[str, Spread]:
    """Return the spread over runs of each entrant, from datasets that include the entrant (:func:`seed_spreads`)."""
    arrays = {}
    for name, cube in cubes.items():
        indices = [index for index, label in enumerate(cube.entrants) if label not in cube.left_out]
        if indices:
            arrays[name] = (cube.values[indices], [cube.entrants[index] for index in indices])
    return seed_spreads(arrays)


def share_spreads(cubes: Mapping[str, ScoreCube]) -> dict[str, ScoreCube]:
    """Return the cubes of datasets with the spreads of their entrants on all datasets."""
    spreads = spreads_of(cubes)
    return {name: replace(cube, spreads=spreads) for name, cube in cubes.items()}


def metric_cube(
    results: Results,
    dataset: str,
    metric: str,
    split: str = "test",
    entrants: Sequence[str] | None = None,
    left_out: LeftOut | None = None,
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

    def coordinates(table: pd.DataFrame, *columns: str) -> list[NDArray[Any]]:
        """Return the values of columns for the rows of the entrants, whose indices come first."""
        rows = table[table["entrant"].isin(labels)]
        index = rows["entrant"].map({label: index for index, label in enumerate(labels)})
        # Values without a noise level come last, and a value that is not a number is not finite.
        missing = {"seed": NONE, "image": NONE}
        values = (rows[name].to_numpy(np.float64, na_value=missing.get(name, np.inf)) for name in columns)
        return [np.asarray(index, np.int64), *values]

    entrant, sigma, run, image, value = coordinates(scores, "sigma", "seed", "image", "value")
    measured = coordinates(nothing if omissions is None else omissions, "sigma", "seed")
    sigmas, runs, images = np.union1d(sigma, measured[1]), np.union1d(run, measured[2]), np.unique(image)
    axes = (entrant, np.searchsorted(sigmas, sigma), np.searchsorted(runs, run), np.searchsorted(images, image))
    values = np.full((len(labels), len(sigmas), len(runs), len(images)), np.nan)
    values[axes] = value
    is_present = ~np.isnan(values)
    if is_present.sum() < len(value):
        cells = scores[scores["entrant"].isin(labels)]
        row = cells[cells.duplicated(["entrant", "sigma", "seed", "image"])].iloc[0]
        raise ResultsError(
            f"two rows of scores give {row['metric']} of '{row['entrant']}' on '{row['dataset']}', seed "
            f"{row['seed']}, sigma {row['sigma']}, image {row['image']}; expected one row: do not mix results "
            "of different protocols"
        )
    is_measured = np.zeros(values.shape[:3], dtype=np.bool_)
    is_measured[measured[0], np.searchsorted(sigmas, measured[1]), np.searchsorted(runs, measured[2])] = True
    values[(is_measured & ~is_present.any(axis=3)).any(axis=2)] = np.nan
    levels, numbers = np.where(np.isinf(sigmas), np.nan, sigmas), images.astype(int).tolist()
    cube = _apply_rules(values, is_present, labels, levels, runs.astype(int).tolist(), numbers, omissions is not None)
    reasons = (results.left_out if left_out is None else left_out).get(dataset, {})
    cube.left_out.update((label, reason) for label, reason in reasons.items() if label in labels)
    sources = sources_of(results, dataset) if split == "test" else None
    if sources is None or np.isnan(levels).any() or not all(0 <= number < len(sources) for number in numbers):
        return cube
    return replace(cube, sources=tuple(sources[number] for number in numbers))


def _apply_rules(
    values: Array,
    is_present: NDArray[np.bool_],
    labels: list[str],
    levels: Array,
    runs: list[int],
    images: list[int],
    may_omit: bool,
) -> ScoreCube:
    """Build a cube: set invalid values to NaN, note problems, and repeat the values of entrants without seeds."""
    is_not_finite = np.asarray((is_present & ~np.isfinite(values)).any(axis=(2, 3)))
    # A value without a noise level may belong to a sample, and samples that did not converge have no value.
    may_be_missing = (np.isnan(levels) | may_omit)[:, None]
    is_partial = np.asarray(is_present.any(axis=3) & ~is_present.all(axis=3) & ~may_be_missing)
    values[is_partial] = values[is_not_finite] = np.nan
    has_value = np.isfinite(values)
    is_complete = (has_value | (may_be_missing[..., None] & ~is_present)).all(axis=3) & has_value.any(axis=3)

    def notes(prefix: str, is_chosen: NDArray[np.bool_]) -> dict[str, str]:
        """Return a note for each entrant with chosen levels, shape (E, S)."""
        return {
            label: f"{prefix} at σ = {', '.join(map(level_name, levels[row]))}"
            for label, row in zip(labels, is_chosen, strict=True)
            if row.any()
        }

    def seeds(is_chosen: NDArray[np.bool_]) -> dict[str, list[int]]:
        """Return the seeds of each entrant that are chosen at any level, of shape (E, S, R)."""
        return {
            label: [run for run, is_kept in zip(runs, row, strict=True) if is_kept and run != NONE]
            for label, row in zip(labels, np.asarray(is_chosen.any(axis=1)), strict=True)
        }

    complete_seeds, scored_seeds = seeds(np.asarray(is_complete)), seeds(np.asarray(is_present.any(axis=3)))
    problems = notes("images are missing", np.asarray(is_partial.any(axis=2)))
    left_out = notes(f"{DIVERGED}not finite", is_not_finite)
    if len(runs) > 1 and runs[0] == NONE:
        has_no_seed = is_present[:, :, 0].any(axis=(1, 2))
        values[has_no_seed] = values[has_no_seed][:, :, :1]
        values, runs = values[:, :, 1:], runs[1:]
    return ScoreCube(values, labels, levels.tolist(), runs, images, complete_seeds, scored_seeds, problems, left_out)


def cubes_by_images(
    results: Results, dataset: str, metrics: Sequence[str], split: str, entrants: Sequence[str]
) -> Iterator[list[ScoreCube]]:
    """Yield the cubes of several metrics for each group of entrants scored on the same images."""
    if not all((dataset, split, metric) in results.rows for metric in metrics):
        return
    by_entrant = results.rows[dataset, split, metrics[0]].groupby("entrant")["image"]
    images = {str(label): frozenset(numbers.dropna()) for label, numbers in by_entrant}
    known = [label for label in entrants if label in images]
    for shared_images in dict.fromkeys(images[label] for label in images if label in known):
        labels = [label for label in known if images[label] == shared_images]
        yield [metric_cube(results, dataset, metric, split, labels) for metric in metrics]


def left_out_part(metric: str) -> str:
    """Return the name of the part in which a metric that may leave out images reports these images."""
    return f"{parse_metric_name(metric).label}.left-out"


def left_out_rows(results: Results) -> dict[str, dict[str, str]]:
    """Return why entrants are left out of comparisons, by dataset; a selection follows the complete results."""
    complete = results.complete
    return {dataset: find_left_out(psnr_cube(complete, dataset, {})) for dataset in dataset_names(complete)}


def find_left_out(cube: ScoreCube) -> dict[str, str]:
    """Return the entrants that are left out of comparisons on a dataset, with the reason as text for a note."""
    reasons = dict(cube.left_out)
    thresholds = np.minimum(DIVERGED_PSNR + input_psnr(cube.sigmas), DIVERGED_PSNR)
    for label, values in zip(cube.entrants, cube.values, strict=True):
        # Missing values are NaN, and must not count as low.
        lowest = np.where(np.isnan(values), np.inf, values).min(axis=(1, 2))
        worst = int(np.argmin(lowest - thresholds))
        if label not in reasons and lowest[worst] < thresholds[worst]:
            reasons[label] = f"{DIVERGED}an image has {lowest[worst]:.1f} dB at σ = {level_name(cube.sigmas[worst])}"
    return reasons


def ratios_of(results: Results) -> dict[str, tuple[str, str]]:
    """Return the numerator and the denominator of each ratio of a suite's metrics."""
    return {metric: (above, below) for metric, above, below in results.ratios.itertuples(index=False, name=None)}


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


def sampled_quotient(cube: ScoreCube) -> SampledMeans:
    """Return ratios of means, shape (E, S), of a cube of 2 S levels (:func:`divide`)."""
    sample, count = cube.sampled(), len(cube.sigmas) // 2
    return divide(sample.at(range(count)), sample.at(range(count, 2 * count)), is_certain=False)


def psnr_cube(results: Results, dataset: str, left_out: LeftOut | None = None) -> ScoreCube:
    """Return the PSNR of a dataset's test images as a cube."""
    return metric_cube(results, dataset, "psnr", left_out=left_out)


def psnr_cubes(results: Results) -> dict[str, ScoreCube]:
    """Return the cube of PSNR of each dataset that has results, with shared spreads."""
    return share_spreads({dataset: psnr_cube(results, dataset) for dataset in dataset_names(results)})


def metric_cubes(results: Results, only: Collection[str] | None = None) -> dict[str, dict[str, ScoreCube]]:
    """Return a cube of test images for each metric but PSNR, by its name in the table and by dataset."""
    cubes: dict[str, dict[str, ScoreCube]] = {}
    for dataset, split, metric in results.rows:
        if split == "test" and metric not in ("psnr", "slope") and (only is None or metric in only):
            cubes.setdefault(metric, {})[dataset] = metric_cube(results, dataset, metric)
    return dict(sorted(cubes.items()))
