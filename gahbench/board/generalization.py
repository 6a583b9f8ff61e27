"""Scores by number of training images: curves for figures, computed from the tidy table of scores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gahbench._util.errors import ResultsError
from gahbench.board.cube import cubes_by_images, join_levels, ratios_of, sampled_quotient
from gahbench.board.statistics import Interval
from gahbench.contracts.row_labels import base_label, number_of_images

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: Means over images or samples and over training seeds, by number of training images and noise level. Numbers ascend,
#: and ``None``, which comes last, stands for the whole split; the noise level is NaN for values without a noise level.
SweepCurves = dict[int | None, dict[float, Interval]]


def find_sweeps(results: Results) -> list[tuple[str, str]]:
    """Return the pairs of dataset and entrant that have rows for several numbers of training images."""
    scored = set(results.scores[["dataset", "entrant"]].drop_duplicates().itertuples(index=False, name=None))
    swept = [label for label in results.entrants if base_label(label) != label]
    known = [(dataset, label) for dataset in results.facts for label in swept if (dataset, label) in scored]
    if not known:
        raise ResultsError(
            f"results of suite '{results.suite}' have no rows for several numbers of training images; a suite creates "
            "them if it lists train_images under 'training'"
        )
    return list(dict.fromkeys((dataset, base_label(label)) for dataset, label in known))


def sweep_curves(results: Results, dataset: str, entrant: str, metric: str, split: str = "test") -> SweepCurves:
    """Return a metric, or ``metric.part``, by number of training images and noise level (NaN without a level)."""
    ratio, scale, curves = ratios_of(results).get(metric), results.scale_of(metric), SweepCurves()
    # The variance between training runs is pooled over entrants that are scored on the same images.
    for cubes in cubes_by_images(results, dataset, ratio or (metric,), split, _rows(results, entrant)):
        sample = sampled_quotient(join_levels(*cubes)) if ratio else cubes[0].sampled()
        for index, label in enumerate(cubes[0].entrants):
            intervals = sample.row(index).intervals(scale)
            curves[number_of_images(label)] = dict(zip(cubes[0].sigmas, intervals, strict=True))
    return dict(sorted(curves.items(), key=lambda item: item[0] or math.inf))


def metrics_of(results: Results, dataset: str, entrant: str) -> list[str]:
    """Return the sorted names of metrics, and parts of metrics, that an entrant of a sweep has on test images."""
    labels = _rows(results, entrant)
    names = {
        metric
        for (name, split, metric), rows in results.rows.items()
        if (name, split) == (dataset, "test") and rows["entrant"].isin(labels).any()
    }
    return sorted(names | {metric for metric, parts in ratios_of(results).items() if {*parts} <= names})


def _rows(results: Results, entrant: str) -> list[str]:
    return [label for label in results.entrants if base_label(label) == entrant and label != entrant]
