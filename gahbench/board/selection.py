"""Results of some of the entrants, datasets and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from gahbench._util.errors import GahbenchError, ParameterError, ResultsError, listing, suggestion
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.tables import SCHEMAS, Tables
from gahbench.contracts.row_labels import base_label, matches

_Results = TypeVar("_Results", bound=Tables)


def selected(
    results: _Results, entrants: Sequence[str] = (), datasets: Sequence[str] = (), metrics: Sequence[str] = ()
) -> _Results:
    """Return results of the entrants, datasets and metrics that match one of some patterns; empty for all."""
    if not (entrants or datasets or metrics):
        return results
    labels = chosen_labels(entrants, results.entrants, "entrant", ResultsError)
    if results.baseline is not None and results.baseline not in labels:
        labels = [label for label in results.entrants if label in {*labels, results.baseline}]
    names = chosen_labels(datasets, results.datasets["dataset"], "dataset", ResultsError)
    known = {parse_metric_name(str(name)).label for name in results.scores["metric"].unique()}
    kept = set(chosen_labels(metrics, sorted(known), "metric", ResultsError)) | {"psnr"}
    tables = {}
    for name in SCHEMAS:
        table = getattr(results, name)
        if "entrant" in table:
            table = table[table["entrant"].isin(labels)]
        if "dataset" in table:
            table = table[table["dataset"].isin(names)]
        if name in ("scores", "metrics", "ratios"):
            table = table[table["metric"].map(lambda metric: parse_metric_name(str(metric)).label in kept).astype(bool)]
        if "entry" in table:
            table = table[table["entry"].isin({*map(base_label, labels), *names, *kept})]
        tables[name] = table
    return replace(results, **tables, entrants=labels, whole=results.whole or results)


def chosen_labels(
    asked: Sequence[str] | None, held: Iterable[str], what: str, error: type[GahbenchError] = ParameterError
) -> list[str]:
    """Return the labels that match one of some patterns, in their order; all without patterns."""
    labels = list(held)
    if unknown := [pattern for pattern in asked or () if not any(is_chosen(label, [pattern]) for label in labels)]:
        is_pattern = any(sign in unknown[0] for sign in "*?")
        names = [] if is_pattern else [*labels, *(label.partition("[")[0] for label in labels)]
        near = suggestion(unknown[0], names)
        raise error(f"{what}s {listing(unknown)} are not in the results{near or ';'} accepted: {listing(labels)}")
    return [label for label in labels if is_chosen(label, asked)]


def is_chosen(label: str, patterns: Sequence[str] | None) -> bool:
    """Whether a label matches one of some patterns, for rows of a sweep also without the number; any does without."""
    return not patterns or any(matches(name, pattern) for name in (label, base_label(label)) for pattern in patterns)
