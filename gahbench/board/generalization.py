"""Scores by number of training images: curves for figures, computed from the tidy table of scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gahbench._util.errors import ParameterError, ResultsError
from gahbench.board.cube import cubes_by_images, join_levels, ratios_of, sampled_quotient
from gahbench.board.selection import choose_labels
from gahbench.board.statistics import Interval
from gahbench.contracts.row_labels import base_label, number_of_images
from gahbench.registry.spec import parse_spec

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: Means over images or samples and over training seeds, by number of training images and noise level. Numbers ascend,
#: and ``None``, which comes last, stands for the whole split; the noise level is NaN for values without a noise level.
SweepCurves = dict[int | None, dict[float, Interval]]


def find_sweeps(
    results: Results, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> list[tuple[str, str]]:
    """Return the pairs of dataset and entrant that have rows for several numbers of training images."""
    scored = set(results.scores[["dataset", "entrant"]].drop_duplicates().itertuples(index=False, name=None))
    pairs = list(
        dict.fromkeys(
            (str(dataset), base_label(entrant))
            for dataset in results.datasets["dataset"]
            for entrant in results.entrants
            if base_label(entrant) != entrant and (dataset, entrant) in scored
        )
    )
    if not pairs:
        raise ResultsError(
            f"results of suite '{results.suite}' have no rows for several numbers of training images; a suite creates "
            "them if it lists train_images under 'training'"
        )
    labels, bases = (list(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
    chosen_datasets = choose_labels(datasets, labels, "dataset")
    chosen_entrants = choose_labels(entrants, bases, "entrant")
    return [pair for pair in pairs if pair[0] in chosen_datasets and pair[1] in chosen_entrants]


def sweep_curves(results: Results, dataset: str, entrant: str, metric: str, split: str = "test") -> SweepCurves:
    """Return a metric, or ``metric.part``, by number of training images and noise level (NaN without a level)."""
    ratio = ratios_of(results).get(metric)
    labels = [label for label in results.entrants if base_label(label) == entrant and label != entrant]
    scored = results.rows.get((dataset, split, ratio[0] if ratio else metric), results.scores[:0])["entrant"].unique()
    labels = sorted({*labels} & {*scored}, key=_sort_key)
    curves: SweepCurves = {number_of_images(label): {} for label in labels}
    scale = results.scale_of(metric)
    # The variance between training runs is pooled over entrants that are scored on the same images.
    for cubes in cubes_by_images(results, dataset, ratio or (metric,), split, labels):
        sample = sampled_quotient(join_levels(*cubes)) if ratio else cubes[0].sampled()
        for index, label in enumerate(cubes[0].entrants):
            intervals = sample.row(index).intervals(scale)
            curves[number_of_images(label)] = dict(zip(cubes[0].sigmas, intervals, strict=True))
    return curves


def metrics_of(results: Results, dataset: str, entrant: str) -> list[str]:
    """Return the sorted names of metrics, and parts of metrics, that an entrant of a sweep has on test images."""
    scores = results.scores
    labels = [label for label in results.entrants if base_label(label) == entrant and label != entrant]
    rows = scores[(scores["dataset"] == dataset) & (scores["split"] == "test") & scores["entrant"].isin(labels)]
    names = set(map(str, rows["metric"].unique()))
    ratios = {metric for metric, parts in ratios_of(results).items() if {*parts} <= names}
    return sorted(names | ratios)


def reference_of(metric: str) -> str:
    """Return the reference with which a metric, given by its label, compares a denoiser; empty without a reference."""
    try:
        spec = parse_spec(metric)
    except ParameterError:
        return ""
    reference = spec.keywords.get("to", *spec.positional[:1])
    return "" if reference is None else str(reference)


def _sort_key(label: str) -> float:
    number = number_of_images(label)
    return math.inf if number is None else number
