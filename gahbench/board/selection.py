"""Selection of results by entrants, datasets and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from gahbench._util.errors import GahbenchError, ParameterError, ResultsError, listing, suggestion
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.tables import SCHEMAS, Tables
from gahbench.contracts.row_labels import base_label, matches

_Results = TypeVar("_Results", bound=Tables)


def select(
    results: _Results, entrants: Sequence[str] = (), datasets: Sequence[str] = (), metrics: Sequence[str] = ()
) -> _Results:
    """Select the results of entrants, datasets and metrics that match a pattern; an empty list selects all."""
    if not (entrants or datasets or metrics):
        return results
    labels = choose_labels(entrants, results.entrants, "entrant", ResultsError)
    if results.baseline is not None and results.baseline not in labels:
        labels = [label for label in results.entrants if label in {*labels, results.baseline}]
    names = choose_labels(datasets, results.datasets["dataset"], "dataset", ResultsError)
    known_metrics = {parse_metric_name(str(name)).label for name in results.scores["metric"].unique()}
    metric_labels = set(choose_labels(metrics, sorted(known_metrics), "metric", ResultsError)) | {"psnr"}
    tables = {}
    for name in SCHEMAS:
        table = getattr(results, name)
        if "entrant" in table:
            table = table[table["entrant"].isin(labels)]
        if "dataset" in table:
            table = table[table["dataset"].isin(names)]
        if name in ("scores", "metrics", "ratios"):
            labels_of_rows = table["metric"].map(lambda metric: parse_metric_name(str(metric)).label)
            table = table[labels_of_rows.isin(metric_labels)]
        if "entry" in table:
            table = table[table["entry"].isin({*map(base_label, labels), *names, *metric_labels})]
        tables[name] = table
    return replace(results, **tables, entrants=labels, selected_from=results.selected_from or results)


def choose_labels(
    patterns: Sequence[str] | None, known_labels: Iterable[str], kind: str, error: type[GahbenchError] = ParameterError
) -> list[str]:
    """Return the labels that match a pattern, in order; all labels if there are no patterns."""
    labels = list(known_labels)
    if unknown := [pattern for pattern in patterns or () if not any(is_chosen(label, [pattern]) for label in labels)]:
        is_pattern = any(sign in unknown[0] for sign in "*?")
        candidates = [] if is_pattern else [*labels, *(label.partition("[")[0] for label in labels)]
        hint = suggestion(unknown[0], candidates)
        raise error(f"{kind}s {listing(unknown)} are not in the results{hint or ';'} accepted: {listing(labels)}")
    return [label for label in labels if is_chosen(label, patterns)]


def is_chosen(label: str, patterns: Sequence[str] | None) -> bool:
    """Return whether a label, with or without its number of images, matches a pattern; true without patterns."""
    return not patterns or any(matches(name, pattern) for name in (label, base_label(label)) for pattern in patterns)
