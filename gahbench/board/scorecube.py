"""From the tidy table to dense arrays: entrants by noise levels by seeds by images."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gahbench._util.errors import ResultsError
from gahbench._util.readable import level_name
from gahbench.board.facts import sources_of
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.seed_effects import pool
from gahbench.board.statistics import DRAWS, MIN_SOURCES, Array, bootstrap_means, means, seed_spreads
from gahbench.board.tables import psnr_rows
from gahbench.evaluation.rates import input_psnr

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.tables import Tables

#: Entrants that are left out of comparisons, and why, by dataset.
LeftOut = Mapping[str, Mapping[str, str]]
#: How the reason begins for which an entrant that has diverged is left out of comparisons.
DIVERGED = "diverged: "
#: A row has diverged where the PSNR of an image is below this, dB, and as far below that of the noisy images: its error
#: is then ten times as large as that of any image with values in [0, 1], and of no denoising.
DIVERGED_PSNR = -10.0
#: How the other reason begins.
SEEDS_DIFFER = "its seeds differ far more than those of the other rows: "


@dataclass(frozen=True)
class ScoreCube:
    """The values of one metric on one dataset."""

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

    def means(self) -> Array:
        """Return the means over seeds and images, shape (E, S)."""
        return means(self.values)

    def draws(self, spreads: Mapping[str, float] | None = None, seed: int = 0) -> Array:
        """Return draws of the means, shape (D, E, S); parameters as those of :func:`bootstrap_means`."""
        values = self.values
        if self.images == [-1] and len(self.runs) > 1:
            # A value of a whole training does not vary over images.
            values = values.repeat(MIN_SOURCES, axis=3)
        return bootstrap_means(values, DRAWS, seed, self.entrants, spreads, self.sources, apart=self.left_out)

    @cached_property
    def shared_draws(self) -> Array:
        """The draws without given spreads, computed once."""
        return self.draws()

    def laid_like(self, other: ScoreCube) -> Array:
        """Return the values on the axes of another cube, of another metric; NaN for what this one does not have."""
        values = self.values
        if self.runs == [-1]:
            # Nothing was trained: the same for each run.
            values = values.repeat(len(other.runs), axis=2)
        found = np.full(other.values.shape, np.nan)
        held: list[list[Any]] = [self.entrants, self.sigmas, self.runs, self.images]
        asked: list[list[Any]] = [other.entrants, other.sigmas, other.runs, other.images]
        if self.runs == [-1]:
            held[2] = other.runs
        for axes in (held, asked):
            # NaN, for no noise level, is not equal to itself.
            axes[1] = [None if np.isnan(sigma) else sigma for sigma in axes[1]]
        shared = [[name for name in here if name in set(there)] for here, there in zip(held, asked, strict=True)]
        places = [
            [[axis.index(name) for name in both] for axis, both in zip(axes, shared, strict=True)]
            for axes in (asked, held)
        ]
        found[np.ix_(*places[0])] = values[np.ix_(*places[1])]
        return found


def spreads_of(cubes: Mapping[str, ScoreCube]) -> dict[str, float]:
    """Return how far the runs of each entrant differ, over the datasets on which it counts (:func:`seed_spreads`)."""
    counted = {}
    for name, cube in cubes.items():
        places = [place for place, label in enumerate(cube.entrants) if label not in cube.left_out]
        if places:
            counted[name] = (cube.values[places], [cube.entrants[place] for place in places])
    return seed_spreads(counted)


def score_cube(
    scores: pd.DataFrame,
    entrants: Sequence[str],
    leaves_out: bool = False,
    sources: Sequence[int] | None = None,
    left_out: Mapping[str, str] | None = None,
) -> ScoreCube:
    """Lay out the rows of one dataset, split and metric."""
    held = set(scores["entrant"].unique())
    labels = [entrant for entrant in entrants if entrant in held]
    at = {label: index for index, label in enumerate(labels)}
    rows = scores[scores["entrant"].isin(labels)]
    seed = rows["seed"].fillna(-1).to_numpy(dtype=np.int64)
    names, of_seed = np.unique(seed, return_inverse=True)
    sigmas, of_sigma = np.unique(rows["sigma"].to_numpy(dtype=np.float64), return_inverse=True)
    images, of_image = np.unique(rows["image"].fillna(-1).to_numpy(dtype=np.int64), return_inverse=True)
    of_entrant = rows["entrant"].map(at).to_numpy(dtype=np.int64)

    shape = (len(labels), len(sigmas), len(names), len(images))
    cell = np.ravel_multi_index((of_entrant, of_sigma, of_seed, of_image), shape) if len(rows) else of_seed
    count = np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape)
    if (count > 1).any():
        row = rows.iloc[int(np.flatnonzero(count.ravel()[cell] > 1)[0])]
        raise ResultsError(
            f"two rows of scores give {row['metric']} of '{row['entrant']}' on '{row['dataset']}', seed "
            f"{row['seed']}, sigma {row['sigma']}, image {row['image']}; expected one: do not mix results "
            "of different protocols"
        )
    values = np.full(shape, np.nan)
    values.ravel()[cell] = rows["value"].to_numpy(dtype=np.float64)
    cube = _settled(values, count > 0, labels, sigmas.tolist(), names.tolist(), images.tolist(), leaves_out)
    cube.left_out.update((label, why) for label, why in (left_out or {}).items() if label in at)
    if sources is None or np.isnan(sigmas).any() or not all(0 <= place < len(sources) for place in cube.images):
        return cube
    return replace(cube, sources=tuple(sources[place] for place in cube.images))


def cubes_by_images(
    metrics: Sequence[pd.DataFrame],
    entrants: Sequence[str],
    names: Collection[str],
    sources: Sequence[int] | None,
    left_out: Mapping[str, str] | None,
) -> Iterator[list[ScoreCube]]:
    """Yield the cubes of several metrics, whose rows are given, of entrants that are scored on the same images."""
    images = {str(label): frozenset(rows["image"].dropna()) for label, rows in metrics[0].groupby("entrant")}
    images = {label: own for label, own in images.items() if label in entrants}
    for same in dict.fromkeys(images.values()):
        labels = [label for label in entrants if images.get(label) == same]
        yield [
            score_cube(rows, labels, leaves_images_out(str(rows["metric"].iloc[0]), names), sources, left_out)
            for rows in metrics
        ]


def leaves_images_out(metric: str, names: Collection[str]) -> bool:
    """Return whether a metric says of each image whether it was left out, by its part ``left-out``."""
    return f"{parse_metric_name(metric).label}.left-out" in names


def _settled(
    values: Array,
    there: NDArray[np.bool_],
    labels: list[str],
    sigmas: list[float],
    names: list[int],
    images: list[int],
    leaves_out: bool,
) -> ScoreCube:
    """Apply the rules on missing and non-finite values, and repeat those of entrants without seeds."""
    lost: NDArray[np.bool_] = np.asarray((there & ~np.isfinite(values)).any(axis=(2, 3)))
    partial: NDArray[np.bool_] = np.asarray(there.any(axis=3) & ~there.all(axis=3))
    # A value without a noise level may be of a sample; samples that did not converge have none.
    may_lack = np.isnan(sigmas) | leaves_out
    partial[:, may_lack] = False
    values[partial] = np.nan
    values[lost] = np.nan
    problems = {
        label: f"images are missing at {_levels(sigmas, row.any(axis=1))}"
        for label, row in zip(labels, partial, strict=True)
        if row.any()
    }
    left_out = {
        label: f"{DIVERGED}not finite at {_levels(sigmas, row)}"
        for label, row in zip(labels, lost, strict=True)
        if row.any()
    }
    whole = np.asarray((np.isfinite(values) | (may_lack[:, None, None] & ~there)).all(axis=3))
    whole &= np.isfinite(values).any(axis=3)
    counts: NDArray[np.bool_] = np.asarray(whole.any(axis=1))

    def named(chosen: NDArray[np.bool_]) -> dict[str, list[int]]:
        return {
            label: [name for name, yes in zip(names, row, strict=True) if yes and name >= 0]
            for label, row in zip(labels, chosen, strict=True)
        }

    seeds, scored = named(counts), named(np.asarray(there.any(axis=(1, 3))))
    if names and names[0] == -1 and len(names) > 1:
        without = there[:, :, 0, :].any(axis=(1, 2))
        values[without] = values[without][:, :, :1, :]
        values, names = values[:, :, 1:, :], names[1:]
    return ScoreCube(values, labels, sigmas, names, images, seeds, scored, problems, left_out)


def _levels(sigmas: list[float], chosen: Iterable[Any]) -> str:
    return "σ = " + ", ".join(level_name(sigma) for sigma, yes in zip(sigmas, chosen, strict=True) if yes)


def left_out(cube: ScoreCube) -> dict[str, str]:
    """Return the entrants that are left out of comparisons on a dataset, and why, in words for a note."""
    found = dict(cube.left_out)
    if not cube.entrants:
        return found
    bars = np.minimum(DIVERGED_PSNR + input_psnr(cube.sigmas), DIVERGED_PSNR)
    # NaN, of what is missing, is not below.
    lowest = np.where(np.isnan(cube.values), np.inf, cube.values).min(axis=(2, 3))
    for label, row in zip(cube.entrants, lowest, strict=True):
        if label not in found and (row < bars).any():
            worst = int(np.argmin(row - bars))
            found[label] = f"{DIVERGED}an image has {row[worst]:.1f} dB at σ = {level_name(cube.sigmas[worst])}"
    apart = [place for place, label in enumerate(cube.entrants) if label in found]
    pooled = pool(means(cube.values[..., None, :]), None, apart)
    for place, outlier in pooled.outliers.items():
        scale, unit = (100, "%") if outlier.relative else (1, "dB")
        spread, median = (f"{scale * one:.2g} {unit}" for one in (outlier.spread, outlier.median))
        level = level_name(cube.sigmas[outlier.level])
        found[cube.entrants[place]] = f"{SEEDS_DIFFER}by {spread} at σ = {level}, and the median by {median}"
    return found


@dataclass(frozen=True)
class Ratio:
    """Names, in the table of scores, of a ratio and of what it is a ratio of."""

    metric: str
    numerator: str
    denominator: str


def ratios_of(results: Tables) -> list[Ratio]:
    """Return the ratios of a suite's metrics."""
    return [Ratio(*map(str, row)) for row in results.ratios.itertuples(index=False, name=None)]


def joined(first: ScoreCube, second: ScoreCube) -> ScoreCube:
    """Return the numerators and denominators of ratios as one cube, with 2 S levels."""
    left_out = first.left_out | {label: why for label, why in second.left_out.items() if label in first.entrants}
    values = np.concatenate([first.values, second.laid_like(first)], axis=1)
    return replace(first, values=values, sigmas=first.sigmas * 2, left_out=left_out)


def decibels(ratio: Array) -> Array:
    """Return ratios of powers in decibels."""
    # The ratio of an error to that of an exact output is infinite.
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(ratio))


def quotient(values: Array) -> Array:
    """Return the ratio of means (..., 2 S), shape (..., S); NaN where the denominator is not above 0."""
    above, below = np.split(values, 2, axis=-1)
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan)


def psnr_cube(results: Tables, dataset: str, out: LeftOut) -> ScoreCube:
    """Return the PSNR of a dataset's test images as a dense array, where some entrants are known to be left out."""
    rows = psnr_rows(results.scores, dataset)
    rows = rows[rows["sigma"].notna()]
    return score_cube(rows, results.entrants, sources=sources_of(results, dataset), left_out=out.get(dataset))


def metric_cubes(results: Tables, out: LeftOut, only: Collection[str] | None = None) -> dict[str, dict[str, ScoreCube]]:
    """Return the values of test images of each metric that the board averages, by name in the table and dataset."""
    scores = results.scores
    scores = scores[(scores["split"] == "test") & ~scores["metric"].isin(("psnr", "slope"))]
    found: dict[str, dict[str, ScoreCube]] = {}
    for dataset, rows in scores.groupby("dataset", sort=False):
        names = set(map(str, rows["metric"].unique()))
        for metric, values in rows[rows["metric"].isin(names if only is None else only)].groupby("metric"):
            leaves_out = leaves_images_out(str(metric), names)
            sources = sources_of(results, str(dataset))
            cube = score_cube(values, results.entrants, leaves_out, sources, out.get(str(dataset)))
            found.setdefault(str(metric), {})[str(dataset)] = cube
    return dict(sorted(found.items()))


def psnr_cubes(results: Tables, out: LeftOut) -> dict[str, ScoreCube]:
    """Return the PSNR of each dataset that has any, as :func:`psnr_cube`."""
    cubes = {str(dataset): psnr_cube(results, str(dataset), out) for dataset in results.datasets["dataset"]}
    return {dataset: cube for dataset, cube in cubes.items() if cube.entrants}
