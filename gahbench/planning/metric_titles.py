"""Titles and ratios of metrics, recorded with results, so that boards and figures need no plugins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gahbench.registry.configured import Configured


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
