"""Facts that plans record for boards, so that boards and figures need no plugins: datasets, metrics and trainings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gahbench.contracts.datasets import Dataset, validate_sources
from gahbench.planning.rows import rows
from gahbench.planning.suite import Suite
from gahbench.planning.units import PlannedDataset, protocol_key
from gahbench.registry.configured import Configured
from gahbench.registry.spec import format_value


def dataset_row(configured: Configured, dataset: Dataset, images: int, noise_seed: int) -> dict[str, Any]:
    """Return the facts about a dataset of which so many test images are scored, as a row of ``datasets`` of results."""
    channels, height, width = dataset.shape
    return {
        "dataset": configured.label,
        "optimum": dataset.optimum.kind,
        "slope": dataset.optimum.slope,
        "channels": channels,
        "height": height,
        "width": width,
        "fingerprint": dataset.fingerprint() or "",
        "sources": _sources_text(dataset, images),
        "protocol": protocol_key(PlannedDataset(configured, dataset), noise_seed),
        "notes": "\n".join(" ".join(note.split()) for note in dataset.notes),
        # A label of the suite's may hide it.
        "spec": configured.default_label,
    }


def _sources_text(dataset: Dataset, images: int) -> str:
    """Return the sources of test images as text; empty where no two have the same."""
    found = validate_sources(dataset, "test", images) or []
    return " ".join(map(str, found)) if len(set(found)) < len(found) else ""


def metric_titles(metrics: Iterable[Configured], labels: Mapping[str, str] | None = None) -> list[dict[str, str]]:
    """Return the titles and nulls of metrics, as the table ``metrics`` of results holds them."""
    return [row for metric in metrics for row in _rows(metric, (labels or {}).get(metric.label))]


def _rows(metric: Configured, label: str | None) -> list[dict[str, str]]:
    titles, nulls = (getattr(metric.plugin.factory, name) for name in ("titles", "nulls"))
    return [
        {
            "metric": _named(metric, part),
            "title": label if label is not None and not part else _filled(title, metric),
            "null": _named(metric, nulls[part]) if part in nulls else "",
        }
        for part, title in ({"": label} | titles if label is not None else titles).items()
    ]


def metric_ratios(metrics: Iterable[Configured]) -> list[dict[str, str]]:
    """Return the values that are ratios of means, as the table ``ratios`` of results holds them."""
    return [
        {
            "metric": _named(metric, part),
            "numerator": _named(metric, numerator),
            "denominator": _named(metric, denominator),
        }
        for metric in metrics
        for part, (numerator, denominator) in metric.plugin.factory.ratios.items()
    ]


def _named(metric: Configured, part: str) -> str:
    """Return the name of a part in the table of scores."""
    return f"{metric.label}.{part}" if part else metric.label


def _filled(title: str, metric: Configured) -> str:
    """Return a title with the parameters that it names filled in."""
    for name, value in metric.parameters.items():
        inner = metric.nested.get(name)
        title = title.replace(f"{{{name}}}", inner.label if isinstance(inner, Configured) else str(value))
    return title


def own_trainings(suite: Suite) -> dict[str, str]:
    """Return how the training of rows differs from that of the suite, by their labels."""
    found = {}
    for row in rows(suite):
        if row.entrant.label in suite.trainings and row.training is not None:
            usual = suite.training.model_dump(mode="json")
            own = suite.trainings[row.entrant.label].model_dump(mode="json")
            texts = [
                f"{name}={format_value(own[name])} ({format_value(usual[name])})"
                for name in own
                if own[name] != usual[name]
            ]
            if texts:
                found[row.label] = ", ".join(texts)
    return found
