"""Preparation of suites: finding and fetching the data that their plugins lack on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gahbench._util.errors import DataError, GahbenchError, error_text, listing
from gahbench.planning.suite import Suite
from gahbench.registry.configured import Configured, iterate_nested, preparation


@dataclass(frozen=True)
class Prepared:
    """The outcome of preparing one plugin: the items that were fetched, those still missing, and the error if any."""

    plugin: str
    fetched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    error: str | None = None


def find_missing(suite: Suite) -> list[tuple[str, str]]:
    """Return what the plugins of a suite lack on this machine, as pairs of a plugin and a description; fetch nothing.

    Raise ``DataError`` if a dataset lacks images, without which a suite cannot be planned.
    """
    items = [(outcome.plugin, text) for outcome in prepare(suite, fetch=False) for text in outcome.missing]
    lacking = {plugin for plugin, _ in items}
    datasets = [entry.label for entry in suite.datasets if any(item.where in lacking for item in iterate_nested(entry))]
    if datasets:
        raise DataError(
            f"{suite.path}: the units of {listing(datasets)} cannot be planned before the images are available, since "
            "their content is part of every key; 'gahbench prepare' fetches what is missing on this machine: "
            + "; ".join(f"{plugin}: {text}" for plugin, text in items)
        )
    return items


def prepare(suite: Suite, fetch: bool = True) -> Iterator[Prepared]:
    """Fetch what a suite lacks on this machine; yield the outcome of each plugin that may need preparation.

    With ``fetch=False``, plugins are only asked what is missing. Plugins that parameters name come first: a plugin
    whose parameters name one that is not ready is not built, since a constructor may read images.
    """
    is_ready: dict[tuple[str, str], bool] = {}
    for entry in (*suite.datasets, *suite.entrants, *suite.metrics):
        for configured in reversed([*iterate_nested(entry)]):
            key, *nested = [(each.kind, each.text) for each in iterate_nested(configured)]
            if key not in is_ready:
                is_ready[key] = all(map(is_ready.__getitem__, nested))
                if is_ready[key] and (outcome := _prepare(configured, fetch)):
                    is_ready[key] = outcome.error is None if fetch else not outcome.missing
                    yield outcome


def _prepare(configured: Configured, fetch: bool) -> Prepared | None:
    """Return what a plugin lacks, after fetching it if ``fetch``; ``None`` for a plugin that needs no preparation."""
    try:
        if (steps := preparation(configured)) is None:
            return None
        missing = left = steps.missing()
        if not isinstance(missing, tuple | list):
            raise TypeError(f"missing() returned {missing!r}; accepted: a tuple of strings")
        if fetch:
            steps.prepare()
            left = steps.missing()
    except Exception as error:
        is_expected = isinstance(error, GahbenchError | ValueError)
        return Prepared(configured.where, error=str(error) if is_expected else error_text(error))
    fetched = tuple(text for text in missing if text not in left)
    return Prepared(configured.where, fetched, left, f"still missing: {'; '.join(left)}" if left else None)
