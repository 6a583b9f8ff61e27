"""Facts about datasets, metrics and training that plans record, so that boards and figures need no plugins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gahbench.contracts.datasets import MEASURED, validate_sources
from gahbench.planning.suite import Suite
from gahbench.planning.suite_fields import Scoring
from gahbench.planning.units import PlannedDataset, protocol_key, rows
from gahbench.registry.configured import Configured
from gahbench.registry.spec import format_value


def dataset_row(planned: PlannedDataset, scoring: Scoring) -> dict[str, Any]:
    """Return the facts about a dataset, as a row of the table ``datasets``.

    ``is_free``, which is not a column of the table, says whether the board may come with pictures of the images.
    """
    configured, dataset = planned.configured, planned.dataset
    channels, height, width = dataset.shape
    sources = validate_sources(dataset, "test", planned.images["test"]) or []
    return {
        "dataset": configured.label,
        "optimum": dataset.optimum.kind,
        "slope": dataset.optimum.slope,
        "channels": channels,
        "height": height,
        "width": width,
        "fingerprint": dataset.fingerprint() or "",
        # The sources of test images; empty if they are distinct.
        "sources": " ".join(map(str, sources)) if len(set(sources)) < len(sources) else "",
        "protocol": protocol_key(planned, scoring.noise_seed),
        "notes": "\n".join(" ".join(note.split()) for note in dataset.notes),
        # The suite may replace name and parameters by a label.
        "spec": configured.default_label,
        "noise": "" if scoring.sigmas else MEASURED,
        "is_free": dataset.card.is_free,
    }


def metric_titles(metrics: Iterable[Configured]) -> list[dict[str, str]]:
    """Return the titles and nulls of metrics, as rows of the table ``metrics``."""
    return [
        {
            "metric": _score_name(metric, part),
            "title": _fill_title(title, metric),
            "null": _score_name(metric, metric.plugin.factory.nulls.get(part)),
        }
        for metric in metrics
        for part, title in metric.plugin.factory.titles.items()
    ]


def metric_ratios(metrics: Iterable[Configured]) -> list[dict[str, str]]:
    """Return the parts of metrics that are ratios of means, as rows of the table ``ratios``."""
    names = ("metric", "numerator", "denominator")
    return [
        dict(zip(names, (_score_name(metric, part) for part in (ratio, *parts)), strict=True))
        for metric in metrics
        for ratio, parts in metric.plugin.factory.ratios.items()
    ]


def _score_name(metric: Configured, part: str | None) -> str:
    """Return the name of a part of a metric in the table of scores; empty without a part."""
    return "" if part is None else f"{metric.label}.{part}" if part else metric.label


def _fill_title(title: str, metric: Configured) -> str:
    """Replace the names of parameters in a title with their values."""
    for name, value in metric.parameters.items():
        inner = metric.nested.get(name)
        title = title.replace(f"{{{name}}}", inner.label if isinstance(inner, Configured) else str(value))
    return title


def own_trainings(suite: Suite) -> dict[str, str]:
    """Return, by label, how the training of rows differs from the training of the suite."""
    default = suite.training.model_dump(mode="json")
    notes = {
        label: ", ".join(
            f"{name}={format_value(value)} ({format_value(default[name])})"
            for name, value in training.model_dump(mode="json").items()
            if value != default[name]
        )
        for label, training in suite.trainings.items()
    }
    return {row.label: notes[row.entrant.label] for row in rows(suite) if notes.get(row.entrant.label)}
