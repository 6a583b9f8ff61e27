"""Values that claims are about: means out of the tidy tables of results, with joint draws of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gahbench.board.facts import dataset_names, sources_of
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import DISTANCE, OPTIMAL_ERROR
from gahbench.board.scorecube import (
    Ratio,
    ScoreCube,
    cubes_by_images,
    decibels,
    joined,
    leaves_images_out,
    quotient,
    ratios_of,
    spreads_of,
)
from gahbench.board.statistics import DRAWS, MIN_SOURCES, Array, bootstrap_means, means
from gahbench.contracts.row_labels import base_label, matches, number_of_images, split_label

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results
    from gahbench.contracts.claims import Scale

#: The distance from the optimum in dB, as on boards.
DEFICIT = "deficit"


@dataclass(frozen=True, eq=False)
class MetricCurve:
    """Means of one metric of one row of results, at its noise levels."""

    sigmas: tuple[float, ...]
    values: Array
    draws: Array
    images: int
    seeds: int
    seed_share: float
    has_sources: bool = False


class Table:
    """The tidy table of one results folder, as claims ask for it; whatever was asked for is kept."""

    def __init__(self, name: str, results: Results) -> None:
        self.name, self.results = name, results
        self._courses: dict[tuple[str, str, str, str | None, Scale], dict[str, MetricCurve]] = {}
        self._cubes_of: dict[tuple[str, str, str | None, Scale], dict[str, list[ScoreCube]]] = {}

    @cached_property
    def datasets(self) -> list[str]:
        """The datasets."""
        return dataset_names(self.results)

    @cached_property
    def _rows(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        """Rows by dataset, split and metric."""
        keys = ["dataset", "split", "metric"]
        found = self.results.scores.groupby(keys, sort=False)
        return {(str(key[0]), str(key[1]), str(key[2])): rows for key, rows in found}

    @cached_property
    def _ratios(self) -> dict[str, Ratio]:
        found = {one.metric: one for one in ratios_of(self.results)}
        return {**found, DEFICIT: Ratio(DEFICIT, DISTANCE, OPTIMAL_ERROR)}

    def left_out(self, dataset: str) -> dict[str, str]:
        """Return the rows of a dataset that are left out of comparisons, and why."""
        return self.results.left_out.get(dataset, {})

    def entrants(self, dataset: str) -> list[str]:
        """Return the labels of a dataset's rows, in the order of the suite."""
        return self._entrants.get(dataset, [])

    @cached_property
    def _entrants(self) -> dict[str, list[str]]:
        pairs = self.results.scores[["dataset", "entrant"]].drop_duplicates()
        there = {str(dataset): set(rows["entrant"]) for dataset, rows in pairs.groupby("dataset")}
        return {name: [one for one in self.results.entrants if one in held] for name, held in there.items()}

    @property
    def ratio_names(self) -> frozenset[str]:
        """Names of values that are ratios of means."""
        return frozenset(self._ratios)

    def metrics(self, pattern: str, dataset: str, split: str) -> list[str]:
        """Return the names of metrics that match a pattern, of which rows of a dataset and split are there."""
        names = self._measured(dataset, split)
        names |= {name for name, one in self._ratios.items() if {one.numerator, one.denominator} <= names}
        wanted = parse_metric_name(pattern)
        found = [parse_metric_name(name) for name in sorted(names)]
        return [
            f"{one.label}{'.' if one.part else ''}{one.part}"
            for one in found
            if one.part == wanted.part
            and one.name == wanted.name
            and (one.label == wanted.label or ("*" in wanted.label and matches(one.label, wanted.label)))
        ]

    def _measured(self, dataset: str, split: str) -> set[str]:
        """Return the names of the metrics that there are rows of."""
        return {metric for place, of, metric in self._rows if (place, of) == (dataset, split)}

    def courses(
        self, dataset: str, metric: str, split: str, minus: str | None = None, scale: Scale = "linear"
    ) -> dict[str, MetricCurve]:
        """Return a metric of every row of a dataset, or its difference image by image from another, by entrant."""
        key = (dataset, metric, split, minus, scale)
        if key not in self._courses:
            self._courses[key] = self._found(*key)
        return self._courses[key]

    def steps(self, dataset: str, entrant: str) -> int | None:
        """Return the fewest steps of training of an entrant, or of the rows of its sweep; ``None`` if it has none."""
        fits = self.results.fits[self.results.fits["dataset"] == dataset]
        steps = fits.loc[fits["entrant"].map(base_label) == entrant, "steps"].dropna()
        return None if steps.empty else int(steps.min())

    def side(self, dataset: str) -> int | None:
        """Return the side of the images of a dataset in pixels, the smaller one."""
        rows = self.results.datasets[self.results.datasets["dataset"] == dataset]
        sides = [rows[axis].dropna() for axis in ("height", "width")]
        return None if any(one.empty for one in sides) else int(min(int(one.iloc[0]) for one in sides))

    def _found(self, dataset: str, metric: str, split: str, minus: str | None, scale: Scale) -> dict[str, MetricCurve]:
        key = (metric, split, minus, scale)
        if key not in self._cubes_of:
            self._cubes_of[key] = {name: self._cubes(name, split, metric, minus, scale) for name in self.datasets}
        cubes = self._cubes_of[key]
        # How far trainings differ is pooled over datasets.
        spreads = spreads_of({f"{name} {place}": one for name in cubes for place, one in enumerate(cubes[name])})
        found: dict[str, MetricCurve] = {}
        for cube in cubes[dataset]:
            found |= self._of_cube((dataset, metric, split, minus), cube, spreads)
        return found

    def _cubes(self, dataset: str, split: str, metric: str, minus: str | None, scale: Scale) -> list[ScoreCube]:
        """Return the values of a metric, those of rows on the same images together; of ratios both parts."""
        ratio = self._ratios.get(metric)
        names = [metric] if ratio is None else [ratio.numerator, ratio.denominator]
        names += [] if minus is None else [minus]
        metrics = [rows for name in names if (rows := self._rows.get((dataset, split, name))) is not None]
        if len(metrics) < len(names):
            return []
        sources = sources_of(self.results, dataset) if split == "test" else None
        every, left_out = self._measured(dataset, split), self.left_out(dataset)
        found = []
        for cubes in cubes_by_images(metrics, self.results.entrants, every, sources, left_out):
            cube = cubes[0]
            if minus is not None:
                cube = replace(cube, values=cube.values - cubes[-1].laid_like(cube))
            elif ratio is not None:
                cube = joined(*cubes)
            found.append(cube if scale == "linear" else _logarithms(cube))
        return found

    def _of_cube(
        self, key: tuple[str, str, str, str | None], cube: ScoreCube, spreads: Mapping[str, float]
    ) -> dict[str, MetricCurve]:
        """Return the courses of a cube's entrants."""
        dataset, metric, split, _ = key
        values, sources = cube.values, cube.sources
        count = 0 if cube.images == [-1] else len(cube.images) if sources is None else len(set(sources))
        # The few images that a network learned from are all of the images there are: only trainings vary.
        is_all = cube.images == [-1] or (split == "train" and len(cube.images) < MIN_SOURCES)
        if is_all and len(cube.runs) > 1:
            values, sources = means(values[..., None, :])[..., None].repeat(MIN_SOURCES, axis=3), None
        # Effects of seeds on different metrics, splits and datasets are drawn apart, as if independent.
        head = " ".join(filter(None, key))
        names = [f"{head} {label}" for label in cube.entrants]
        own = {f"{head} {label}": spread for label, spread in spreads.items()}
        apart = [f"{head} {label}" for label in cube.left_out]
        drawn = bootstrap_means(values, DRAWS, 0, names, own, sources, apart=apart)
        of_images = drawn
        if len(cube.runs) > 1:
            # With the mean of all seeds in place of each, images alone vary.
            averaged = means(values.swapaxes(2, 3)[..., None])[:, :, None, :]
            of_images = bootstrap_means(averaged, DRAWS, 0, names, own, sources)
        middle, sigmas = cube.means(), cube.sigmas
        if metric in self._ratios:
            middle, drawn, of_images = quotient(middle), quotient(drawn), quotient(of_images)
            sigmas = sigmas[: len(sigmas) // 2]
        if metric == DEFICIT:
            middle, drawn, of_images = (decibels(1 + np.maximum(one, 0)) for one in (middle, drawn, of_images))
        left_out = self._left_out(dataset, metric, split)
        found = {}
        for place, label in enumerate(cube.entrants):
            may_lack = [math.isnan(sigma) or sigma in left_out.get(label, ()) for sigma in sigmas]
            kept = [at for at, value in enumerate(middle[place]) if np.isfinite(value) or not may_lack[at]]
            if kept:
                seeds = len(cube.seeds.get(label, []))
                found[label] = MetricCurve(
                    tuple(sigmas[at] for at in kept),
                    middle[place, kept],
                    drawn[:, place][:, kept],
                    count,
                    seeds,
                    _seed_share(drawn[:, place][:, kept], of_images[:, place][:, kept]),
                    cube.sources is not None and count < len(cube.images),
                )
        return found

    def _left_out(self, dataset: str, metric: str, split: str) -> dict[str, set[float]]:
        """Return the noise levels of a dataset at which rows have no value by definition, by entrant."""
        if not leaves_images_out(metric, self._measured(dataset, split)):
            return {}
        ratio = self._ratios.get(metric)
        rows = self._rows[dataset, split, metric if ratio is None else ratio.numerator]
        levels = set(rows["sigma"])
        return {str(entrant): levels - set(own["sigma"]) for entrant, own in rows.groupby("entrant")}


def numbers(labels: Sequence[str], base: str) -> dict[float, str]:
    """Return the rows of an entrant's sweep by number of training images, ascending; ``all`` is infinity, last."""
    found = {}
    for label in labels:
        own, number = split_label(label)
        if own == base and number is not None:
            count = number_of_images(label)
            found[math.inf if count is None else float(count)] = label
    return dict(sorted(found.items()))


def _logarithms(cube: ScoreCube) -> ScoreCube:
    """Return a cube of logarithms to base 10; all of an entrant at a noise level are NaN where a value has none."""
    there: NDArray[np.bool_] = np.asarray(np.isfinite(cube.values).any(axis=3, keepdims=True))
    is_wrong = (cube.values <= 0).any(axis=(2, 3), keepdims=True) | ~there.all(axis=2, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return replace(cube, values=np.where(is_wrong, np.nan, np.log10(cube.values)))


def _seed_share(drawn: Array, of_images: Array) -> float:
    if not np.isfinite(drawn).all():
        return 0.0
    whole = drawn.var(axis=0)
    # Without draws over images, as of values of none, all of it is of seeds.
    images = np.where(np.isfinite(of_images).all(axis=0), of_images.var(axis=0), 0.0)
    known = whole > 0
    return float(np.clip(1 - images[known] / whole[known], 0, 1).mean()) if known.any() else 0.0
