"""Results of some of the entrants, datasets and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gahbench._util.errors import ParameterError, ResultsError, listing
from gahbench._util.patterns import matches
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.results import Results
from gahbench.board.schemas import SCHEMAS
from gahbench.planning.row_labels import base_label


def selected(
    results: Results, entrants: Sequence[str] = (), datasets: Sequence[str] = (), metrics: Sequence[str] = ()
) -> Results:
    """Return results of the entrants, datasets and metrics that match one of some patterns; empty for all.

    Ranks are among those that are left. PSNR, which ranks, and the baseline stay.

    Parameters
    ----------
    entrants, datasets, metrics
        Labels, names before the brackets, or patterns such as ``unet*``.

    Raises
    ------
    ResultsError
        If a pattern matches nothing; names what there is.
    """
    if not (entrants or datasets or metrics):
        return results
    labels = _chosen(results.entrants, entrants, "entrant")
    if results.baseline is not None and results.baseline not in labels:
        labels = [label for label in results.entrants if label in {*labels, results.baseline}]
    names = _chosen(results.datasets["dataset"], datasets, "dataset")
    known = {parse_metric_name(str(name)).label for name in results.scores["metric"].unique()}
    kept = set(_chosen(sorted(known), metrics, "metric")) | {"psnr"}
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
    return replace(results, **tables, entrants=labels)


def _chosen(names: Iterable[str], patterns: Sequence[str], kind: str) -> list[str]:
    found = list(names)
    if not patterns:
        return found
    for pattern in patterns:
        if not any(is_chosen(name, [pattern]) for name in found):
            raise ResultsError(f"{kind} {pattern}: matches none of {listing(found)}")
    return [name for name in found if is_chosen(name, patterns)]


def chosen_labels(asked: Sequence[str] | None, held: Sequence[str], what: str) -> list[str]:
    """Return the labels that match one of some patterns, in their order; all without patterns.

    Raises
    ------
    ParameterError
        If a pattern matches none; names what there is.
    """
    if unknown := [pattern for pattern in asked or () if not any(is_chosen(label, [pattern]) for label in held)]:
        raise ParameterError(f"{what}s {listing(unknown)} are not in the results; accepted: {listing(held)}")
    return [label for label in held if is_chosen(label, asked)]


def is_chosen(label: str, patterns: Sequence[str] | None) -> bool:
    """Whether a label matches one of some patterns, for rows of a sweep also without the number; any does without."""
    return not patterns or any(matches(name, pattern) for name in (label, base_label(label)) for pattern in patterns)
