"""Scores by number of training images, out of the tidy table, for figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gahbench._util.errors import ParameterError, ResultsError
from gahbench.board.facts import sources_of
from gahbench.board.scorecube import cubes_by_images, joined, quotient, ratios_of
from gahbench.board.selection import chosen_labels
from gahbench.board.statistics import Interval, estimates
from gahbench.contracts.row_labels import base_label, number_of_images
from gahbench.registry.spec import parse_spec

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: Means over images or samples, and over training seeds: by number of training images, ascending, ``None``, last, for
#: all of the split, and by noise level, NaN for none.
SweepCurves = dict[int | None, dict[float, Interval]]


def swept(
    results: Results, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> list[tuple[str, str]]:
    """Return the datasets and entrants that have rows for several numbers of training images."""
    rows = results.scores[["dataset", "entrant"]].drop_duplicates()
    found = list(
        dict.fromkeys(
            (str(dataset), base_label(str(entrant)))
            for dataset in results.datasets["dataset"]
            for entrant in results.entrants
            if base_label(entrant) != entrant and ((rows["dataset"] == dataset) & (rows["entrant"] == entrant)).any()
        )
    )
    if not found:
        raise ResultsError(
            f"results of suite '{results.suite}' have no row for each of several numbers of training images; a suite "
            "that lists train_images under 'training' has"
        )
    known = [list(dict.fromkeys(names)) for names in zip(*found, strict=True)]
    of, by = (
        chosen_labels(asked, names, kind)
        for kind, asked, names in zip(("dataset", "entrant"), (datasets, entrants), known, strict=True)
    )
    return [(dataset, entrant) for dataset, entrant in found if dataset in of and entrant in by]


def course(results: Results, dataset: str, entrant: str, metric: str, split: str = "test") -> SweepCurves:
    """Return a metric, or ``metric.part``, by number of training images and noise level (NaN where it has none)."""
    ratio = next((one for one in ratios_of(results) if one.metric == metric), None)
    names = [metric] if ratio is None else [ratio.numerator, ratio.denominator]
    scores = results.scores
    scores = scores[(scores["dataset"] == dataset) & (scores["split"] == split)]
    metrics = [scores[scores["metric"] == name] for name in names]
    labels = [label for label in results.entrants if base_label(label) == entrant and label != entrant]
    labels = [label for label in sorted(labels, key=_number) if (metrics[0]["entrant"] == label).any()]
    found: SweepCurves = {number_of_images(label): {} for label in labels}
    if any(rows.empty for rows in metrics):
        return found
    sources = sources_of(results, dataset) if split == "test" else None
    every = set(map(str, scores["metric"].unique()))
    # How far trainings differ is pooled over those that are scored on the same images.
    for cubes in cubes_by_images(metrics, labels, every, sources, results.left_out.get(dataset)):
        cube = cubes[0]
        if ratio is None:
            middle, draws = cube.means(), cube.draws()
        else:
            both = joined(*cubes)
            middle, draws = quotient(both.means()), quotient(both.draws({}))
        for at, label in enumerate(cube.entrants):
            levels = zip(cube.sigmas, estimates(middle[at], draws[:, at]), strict=True)
            found[number_of_images(label)] = dict(levels)
    return found


def metrics_of(results: Results, dataset: str, entrant: str) -> list[str]:
    """Return the metrics, and parts of metrics, that an entrant of a sweep has on test images, sorted."""
    scores = results.scores
    labels = [label for label in results.entrants if base_label(label) == entrant and label != entrant]
    rows = scores[(scores["dataset"] == dataset) & (scores["split"] == "test") & scores["entrant"].isin(labels)]
    names = set(map(str, rows["metric"].unique()))
    ratios = {one.metric for one in ratios_of(results) if {one.numerator, one.denominator} <= names}
    return sorted(names | ratios)


def compared_with(metric: str) -> str:
    """Return the reference that a metric compares a denoiser with, by the metric's label; empty if there is none."""
    try:
        spec = parse_spec(metric)
    except ParameterError:
        return ""
    to = spec.keywords.get("to", *spec.positional[:1])
    return "" if to is None else str(to)


def _number(label: str) -> float:
    found = number_of_images(label)
    return math.inf if found is None else found
