"""Scores by number of training images: curves for figures, computed from the tidy table of scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gahbench._util.errors import ParameterError, ResultsError
from gahbench.board.cube import (
    cubes_by_images,
    join_levels,
    left_out_part,
    ratios_of,
    sampled_quotient,
)
from gahbench.board.facts import sources_of
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
    ratio = next((ratio for ratio in ratios_of(results) if ratio.metric == metric), None)
    names = [metric] if ratio is None else [ratio.numerator, ratio.denominator]
    scores = results.scores
    scores = scores[(scores["dataset"] == dataset) & (scores["split"] == split)]
    rows = {str(name): own for name, own in scores.groupby("metric", sort=False)}
    tables = [(rows.get(name, scores[:0]), rows.get(left_out_part(name))) for name in names]
    labels = [label for label in results.entrants if base_label(label) == entrant and label != entrant]
    labels = [label for label in sorted(labels, key=_sort_key) if (tables[0][0]["entrant"] == label).any()]
    curves: SweepCurves = {number_of_images(label): {} for label in labels}
    if any(table.empty for table, _ in tables):
        return curves
    sources = sources_of(results, dataset) if split == "test" else None
    scale = results.scale_of(metric)
    # The variance between training runs is pooled over entrants that are scored on the same images.
    for cubes in cubes_by_images(tables, labels, sources, results.left_out.get(dataset)):
        cube = cubes[0]
        sample = cube.sampled() if ratio is None else sampled_quotient(join_levels(*cubes))
        for index, label in enumerate(cube.entrants):
            curves[number_of_images(label)] = dict(zip(cube.sigmas, sample.row(index).intervals(scale), strict=True))
    return curves


def metrics_of(results: Results, dataset: str, entrant: str) -> list[str]:
    """Return the sorted names of metrics, and parts of metrics, that an entrant of a sweep has on test images."""
    scores = results.scores
    labels = [label for label in results.entrants if base_label(label) == entrant and label != entrant]
    rows = scores[(scores["dataset"] == dataset) & (scores["split"] == "test") & scores["entrant"].isin(labels)]
    names = set(map(str, rows["metric"].unique()))
    ratios = {ratio.metric for ratio in ratios_of(results) if {ratio.numerator, ratio.denominator} <= names}
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
