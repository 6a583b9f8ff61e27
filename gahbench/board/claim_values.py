"""Values that claims are tested on: means from the tidy tables of results, with their samples."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gahbench.board.facts import dataset_names, noise_of, sources_of
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import DISTANCE, OPTIMAL_ERROR
from gahbench.board.scorecube import (
    Ratio,
    ScoreCube,
    cubes_by_images,
    decibels,
    join_levels,
    left_out_part,
    ratios_of,
    spreads_of,
)
from gahbench.board.statistics import DRAWS, MIN_SOURCES, IntervalScale, SampledMeans, divide, means, sampled_means
from gahbench.contracts.row_labels import base_label, matches, number_of_images, split_label

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results
    from gahbench.board.seed_effects import Spread
    from gahbench.contracts.claims import Scale

#: Name of the distance from the optimum in dB, as on boards.
DEFICIT = "deficit"


@dataclass(frozen=True, eq=False)
class MetricCurve:
    """Means (S,) of one metric for one row of results at S noise levels, with their samples.

    ``seed_share`` is the share of the variance of the means that is due to training seeds. ``missing`` lists the other
    noise levels at which the metric was measured, but at which the row or one of its seeds has no value.
    """

    sigmas: tuple[float, ...]
    sample: SampledMeans
    images: int
    seeds: int
    seed_share: float
    has_sources: bool = False
    missing: tuple[float, ...] = ()
    scale: IntervalScale = "linear"


class Table:
    """The tidy table of one results folder, with cached curves of its metrics."""

    def __init__(self, name: str, results: Results) -> None:
        self.name, self.results = name, results
        self._curves: dict[tuple[str, str, str, str | None, Scale], dict[str, MetricCurve]] = {}
        self._cubes_of: dict[tuple[str, str, str | None, Scale], dict[str, list[ScoreCube]]] = {}

    @cached_property
    def datasets(self) -> list[str]:
        """Labels of the datasets with white Gaussian noise, which claims are about."""
        return [name for name in dataset_names(self.results) if not noise_of(self.results, name)]

    @cached_property
    def _rows(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        """Rows of scores by dataset, split and metric."""
        keys = ["dataset", "split", "metric"]
        groups = self.results.scores.groupby(keys, sort=False)
        return {(str(key[0]), str(key[1]), str(key[2])): rows for key, rows in groups}

    @cached_property
    def _ratios(self) -> dict[str, Ratio]:
        ratios = {ratio.metric: ratio for ratio in ratios_of(self.results)}
        return {**ratios, DEFICIT: Ratio(DEFICIT, DISTANCE, OPTIMAL_ERROR)}

    def left_out(self, dataset: str) -> dict[str, str]:
        """Return the rows of a dataset that are left out of comparisons, with the reason for each."""
        return self.results.left_out.get(dataset, {})

    def entrants(self, dataset: str) -> list[str]:
        """Return the labels of a dataset's rows, in the order of the suite."""
        return self._entrants.get(dataset, [])

    @cached_property
    def _entrants(self) -> dict[str, list[str]]:
        pairs = self.results.scores[["dataset", "entrant"]].drop_duplicates()
        labels_by_dataset = {
            str(dataset): set(dataset_rows["entrant"]) for dataset, dataset_rows in pairs.groupby("dataset")
        }
        return {
            name: [label for label in self.results.entrants if label in labels]
            for name, labels in labels_by_dataset.items()
        }

    @property
    def ratio_names(self) -> frozenset[str]:
        """Names of metrics that are ratios of means."""
        return frozenset(self._ratios)

    def metrics(self, pattern: str, dataset: str, split: str) -> list[str]:
        """Return the names of metrics that match a pattern and were measured on a dataset and split."""
        names = self._measured_metrics(dataset, split)
        names |= {name for name, ratio in self._ratios.items() if {ratio.numerator, ratio.denominator} <= names}
        wanted = parse_metric_name(pattern)
        parsed_names = [parse_metric_name(name) for name in sorted(names)]
        return [
            f"{parsed.label}{'.' if parsed.part else ''}{parsed.part}"
            for parsed in parsed_names
            if parsed.part == wanted.part
            and parsed.name == wanted.name
            and (parsed.label == wanted.label or ("*" in wanted.label and matches(parsed.label, wanted.label)))
        ]

    def _measured_metrics(self, dataset: str, split: str) -> set[str]:
        """Return the names of the metrics with rows for a dataset and split."""
        return {metric for row_dataset, row_split, metric in self._rows if (row_dataset, row_split) == (dataset, split)}

    def curves(
        self, dataset: str, metric: str, split: str, minus: str | None = None, scale: Scale = "linear"
    ) -> dict[str, MetricCurve]:
        """Return, by entrant, the curves of a metric, or of its image-by-image difference from another metric."""
        key = (dataset, metric, split, minus, scale)
        if key not in self._curves:
            self._curves[key] = self._load_curves(*key)
        return self._curves[key]

    def steps(self, dataset: str, entrant: str) -> int | None:
        """Return the smallest number of training steps of an entrant and its sweeps; ``None`` if untrained."""
        fits = self.results.fits[self.results.fits["dataset"] == dataset]
        steps = fits.loc[fits["entrant"].map(base_label) == entrant, "steps"].dropna()
        return None if steps.empty else int(steps.min())

    def side(self, dataset: str) -> int | None:
        """Return the shorter side of the images of a dataset, in pixels; ``None`` if unknown."""
        rows = self.results.datasets[self.results.datasets["dataset"] == dataset]
        sides = [rows[axis].dropna() for axis in ("height", "width")]
        return None if any(side.empty for side in sides) else int(min(int(side.iloc[0]) for side in sides))

    def _load_curves(
        self, dataset: str, metric: str, split: str, minus: str | None, scale: Scale
    ) -> dict[str, MetricCurve]:
        key = (metric, split, minus, scale)
        if key not in self._cubes_of:
            self._cubes_of[key] = {name: self._cubes(name, split, metric, minus, scale) for name in self.datasets}
        cubes = self._cubes_of[key]
        is_plain = minus is None and scale == "linear"
        # The variance between training runs is pooled over datasets.
        spreads = spreads_of({f"{name} {index}": cube for name in cubes for index, cube in enumerate(cubes[name])})
        curves: dict[str, MetricCurve] = {}
        for cube in cubes[dataset]:
            curves |= self._curves_of_cube((dataset, metric, split, minus), cube, spreads)
        interval_scale = self.results.scale_of(metric) if is_plain else "linear"
        return {label: replace(curve, scale=interval_scale) for label, curve in curves.items()}

    def _cubes(self, dataset: str, split: str, metric: str, minus: str | None, scale: Scale) -> list[ScoreCube]:
        """Return the values of a metric, a cube for each set of images; the cube of a ratio holds both means."""
        ratio = self._ratios.get(metric)
        names = [metric] if ratio is None else [ratio.numerator, ratio.denominator]
        names += [] if minus is None else [minus]
        tables = [
            (rows, self._rows.get((dataset, split, left_out_part(name))))
            for name in names
            if (rows := self._rows.get((dataset, split, name))) is not None
        ]
        if len(tables) < len(names):
            return []
        sources = sources_of(self.results, dataset) if split == "test" else None
        scaled_cubes = []
        for cubes in cubes_by_images(tables, self.results.entrants, sources, self.left_out(dataset)):
            cube = cubes[0]
            if minus is not None:
                cube = replace(cube, values=cube.values - cubes[-1].reindex_like(cube))
            elif ratio is not None:
                cube = join_levels(*cubes)
            scaled_cubes.append(cube if scale == "linear" else _logarithms(cube))
        return scaled_cubes

    def _curves_of_cube(
        self, key: tuple[str, str, str, str | None], cube: ScoreCube, spreads: Mapping[str, Spread]
    ) -> dict[str, MetricCurve]:
        """Return the curves of a cube's entrants."""
        dataset, metric, split, _ = key
        values, sources = cube.values, cube.sources
        count = 0 if cube.images == [-1] else len(cube.images) if sources is None else len(set(sources))
        # A few training images are the whole population, not a sample of images, so only training runs vary.
        is_population = cube.images == [-1] or (split == "train" and len(cube.images) < MIN_SOURCES)
        if is_population and len(cube.runs) > 1:
            values, sources = means(values[..., None, :])[..., None].repeat(MIN_SOURCES, axis=3), None
        # Effects of seeds on different metrics, splits and datasets are drawn independently.
        prefix = " ".join(filter(None, key))
        entrant_names = [f"{prefix} {label}" for label in cube.entrants]
        entrant_spreads = {f"{prefix} {label}": spread for label, spread in spreads.items()}
        left_out_names = [f"{prefix} {label}" for label in cube.left_out]
        sample = sampled_means(values, DRAWS, 0, entrant_names, entrant_spreads, sources, excluded=left_out_names)
        sigmas = cube.sigmas
        if metric in self._ratios:
            sigmas = sigmas[: len(sigmas) // 2]
            levels = range(len(sigmas))
            sample = divide(sample.at(levels), sample.at([len(sigmas) + level for level in levels]))
        if metric == DEFICIT:
            ratios = np.maximum(sample.values, 0)
            # The derivative of 10 log10(1 + ratio).
            slope = 10 / np.log(10) / (1 + ratios)
            sample = sample.apply(functools.partial(np.multiply, slope), decibels(1 + ratios))
        leaves_out = left_out_part(metric) in self._measured_metrics(dataset, split)
        curves = {}
        for index, label in enumerate(cube.entrants):
            kept_levels = [
                level
                for level, value in enumerate(sample.values[index])
                if np.isfinite(value) or not (leaves_out or math.isnan(sigmas[level]))
            ]
            missing_levels = sorted(set(range(len(sigmas))) - set(kept_levels))
            if kept_levels:
                seeds = len(cube.seeds.get(label, []))
                kept = sample.row(index).at(kept_levels)
                curves[label] = MetricCurve(
                    tuple(sigmas[level] for level in kept_levels),
                    kept,
                    count,
                    seeds,
                    _seed_share(kept),
                    cube.sources is not None and count < len(cube.images),
                    tuple(sigmas[level] for level in missing_levels if not math.isnan(sigmas[level])),
                )
        return curves


def rows_by_number_of_images(labels: Sequence[str], base: str) -> dict[float, str]:
    """Return the rows of an entrant's sweep by ascending number of training images; ``all`` has the key infinity."""
    rows = {}
    for label in labels:
        label_base, number = split_label(label)
        if label_base == base and number is not None:
            count = number_of_images(label)
            rows[math.inf if count is None else float(count)] = label
    return dict(sorted(rows.items()))


def _logarithms(cube: ScoreCube) -> ScoreCube:
    """Return a cube of logarithms to base 10; an entrant is NaN at each noise level where a value is not positive."""
    is_present: NDArray[np.bool_] = np.asarray(np.isfinite(cube.values).any(axis=3, keepdims=True))
    is_invalid = (cube.values <= 0).any(axis=(2, 3), keepdims=True) | ~is_present.all(axis=2, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return replace(cube, values=np.where(is_invalid, np.nan, np.log10(cube.values)))


def _seed_share(sample: SampledMeans) -> float:
    """Return the share of the variance of means that is due to training seeds, averaged over noise levels."""
    seed_variance = sample.effects.var(axis=0)
    variances = seed_variance + sample.unit_variance
    is_positive = variances > 0
    if not np.isfinite(variances).all() or not is_positive.any():
        return 0.0
    return float((seed_variance[is_positive] / variances[is_positive]).mean())
