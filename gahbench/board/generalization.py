"""Scores by number of training images, out of the tidy table, for figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gahbench._util.errors import ParameterError, ResultsError
from gahbench.board.facts import sources_of
from gahbench.board.scorecube import Ratio, joined, leaves_images_out, quotients, ratios_of, score_cube
from gahbench.board.selection import chosen_labels
from gahbench.board.statistics import Estimate, estimates
from gahbench.contracts.row_labels import base_label, number_of_images
from gahbench.registry.spec import parse_spec

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results


#: Means over images or samples, and over training seeds: by number of training images, ascending, ``None``, last, for
#: all of the split, and by noise level, NaN for none.
SweepCurves = dict[int | None, dict[float, Estimate]]


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
    every = set(map(str, scores["metric"].unique()))
    scores = scores[(scores["dataset"] == dataset) & scores["metric"].isin(names) & (scores["split"] == split)]
    labels = [label for label in results.entrants if base_label(label) == entrant and label != entrant]
    labels = [label for label in sorted(labels, key=_number) if (scores["entrant"] == label).any()]
    images = {label: frozenset(scores.loc[scores["entrant"] == label, "image"].dropna()) for label in labels}
    sources = sources_of(results, dataset) if split == "test" else None
    found: SweepCurves = {}
    # How far trainings differ is pooled over those that are scored on the same images.
    for same in dict.fromkeys(images.values()):
        together = [label for label in labels if images[label] == same]
        left_out = results.left_out.get(dataset)
        values = _estimates(scores, together, ratio, leaves_images_out(metric, every), sources, left_out)
        found |= dict(zip(map(number_of_images, together), values, strict=True))
    return {number_of_images(label): found[number_of_images(label)] for label in labels}


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


def _estimates(
    rows: pd.DataFrame,
    labels: Sequence[str],
    ratio: Ratio | None,
    leaves_out: bool,
    sources: Sequence[int] | None,
    left_out: Mapping[str, str] | None,
) -> list[dict[float, Estimate]]:
    """Return the means of a metric, or of a ratio of two, by noise level, of each entrant."""
    cubes = {
        str(name): score_cube(values, labels, leaves_out, sources, left_out) for name, values in rows.groupby("metric")
    }
    if ratio is None:
        (cube,) = cubes.values()
        middle, draws = cube.means(), cube.draws()
    else:
        both = joined(ratio, cubes)
        if both is None:
            return [{} for _ in labels]
        cube = cubes[ratio.numerator]
        middle, draws = quotients(both, {})
    known = [
        dict(zip(cube.sigmas, estimates(middle[at], draws[:, at]), strict=True)) for at in range(len(cube.entrants))
    ]
    found = dict(zip(cube.entrants, known, strict=True))
    return [found.get(label, {}) for label in labels]


def _number(label: str) -> float:
    found = number_of_images(label)
    return math.inf if found is None else found
