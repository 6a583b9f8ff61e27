"""Preparation of suites: finding and fetching the data that their plugins lack on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gahbench._util.errors import DataError, GahbenchError, listing
from gahbench.planning.suite import Suite, load_suite
from gahbench.planning.suite_changes import SuiteChanges
from gahbench.planning.suite_files import plugin_sources
from gahbench.registry.configured import Configured, iterate_nested
from gahbench.registry.preparation import preparation
from gahbench.registry.registry import Registry, open_registry


@dataclass(frozen=True)
class Missing:
    """Downloads and computations that the plugins of a suite still need, and datasets that lack images.

    ``items`` are pairs of a plugin and a description.
    """

    suite: Path
    items: tuple[tuple[str, str], ...] = ()
    datasets: tuple[str, ...] = ()

    def require_datasets(self) -> None:
        """Raise an error if a dataset lacks images."""
        if self.datasets:
            items = "".join(f"; missing on this machine: {plugin}: {what}" for plugin, what in self.items)
            raise DataError(
                f"{self.suite}: the units of {listing(self.datasets)} cannot be planned before the images are "
                f"available, since their content is part of every key; 'gahbench prepare' fetches what is missing"
                f"{items}"
            )


@dataclass(frozen=True)
class Prepared:
    """The outcome of preparing one plugin: the items that were fetched, and the error if an item is still missing."""

    plugin: str
    fetched: tuple[str, ...] = ()
    error: str | None = None


def prepare(
    suite: str | Path,
    *,
    entrants: Sequence[str] = (),
    settings: Mapping[str, Any] | Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    report: Callable[[Prepared], None] = lambda prepared: None,
) -> tuple[Prepared, ...]:
    """Download and decode everything that a suite needs on this machine.

    A run also prepares its suite, but this needs network access if something is missing.

    Parameters
    ----------
    suite
        Path of a suite, or the name of a suite that gahbench ships.
    entrants
        Additional entrants, as specs ``name[key=value,...]``; by default none.
    settings
        Fields of the suite to override: a mapping such as ``{"scoring.images": 100}``, or strings such as
        ``"scoring.images=100"``; by default none.
    plugins
        Paths of plugin files, or of folders of plugin files; by default only those that the suite names.
    report
        Function to call with each outcome as soon as it is known.

    Returns
    -------
    tuple of Prepared
        One outcome for each plugin that may need preparation: ``fetched`` describes what was missing and is here now;
        ``error`` says why something is still missing, or is ``None``.

    Raises
    ------
    GahbenchError
        If the suite, a plugin or a parameter is invalid.

    Examples
    --------
    >>> [outcome.error for outcome in prepare("quick")]
    [None]
    """
    registry = open_registry(plugin_sources(plugins, suite))
    outcomes: list[Prepared] = []
    failed: set[tuple[str, str]] = set()
    for configured in _in_order(load_suite(suite, registry, SuiteChanges.from_arguments(entrants, settings)), failed):
        prepared = _prepare_plugin(configured)
        if prepared is None:
            continue
        if prepared.error is not None:
            failed.add(_identity(configured))
        outcomes.append(prepared)
        report(prepared)
    return tuple(outcomes)


def find_missing(registry: Registry, suite: str | Path, changes: SuiteChanges | Sequence[str] = ()) -> Missing:
    """Return the items that the plugins of a suite lack on this machine, without fetching any."""
    loaded = load_suite(suite, registry, changes)
    items: list[tuple[str, str]] = []
    unready: set[tuple[str, str]] = set()
    for configured in _in_order(loaded, unready):
        try:
            preparer = preparation(configured)
            texts = preparer.missing() if preparer is not None else ()
        except Exception:
            continue
        items += [(configured.where, text) for text in texts]
        if texts:
            unready.add(_identity(configured))
    datasets = tuple(configured.label for configured in loaded.datasets if _identity(configured) in unready)
    return Missing(loaded.path, tuple(items), datasets)


def _prepare_plugin(configured: Configured) -> Prepared | None:
    """Prepare one plugin, and catch its errors; return ``None`` if the plugin needs no preparation."""
    try:
        preparer = preparation(configured)
        if preparer is None:
            return None
        missing = preparer.missing()
        preparer.prepare()
        still_missing = preparer.missing()
    except (GahbenchError, ValueError) as error:
        return Prepared(configured.where, error=str(error))
    except Exception as error:
        return Prepared(configured.where, error=f"{type(error).__name__}: {error}")
    obtained = tuple(text for text in missing if text not in still_missing)
    return Prepared(configured.where, obtained, f"still missing: {'; '.join(still_missing)}" if still_missing else None)


def _in_order(suite: Suite, unready: set[tuple[str, str]]) -> Iterator[Configured]:
    """Yield each plugin of a suite once, after the plugins that its parameters name, if these are ready.

    The caller adds plugins that are not ready to ``unready``; plugins whose parameters name them are added here.
    """
    visited: set[tuple[str, str]] = set()
    for entry in (*suite.datasets, *suite.entrants, *suite.metrics):
        # The reversed order has the plugins of parameters first.
        for configured in reversed(list(iterate_nested(entry))):
            if _identity(configured) in visited:
                continue
            visited.add(_identity(configured))
            # A constructor may read the images of a dataset that a parameter names.
            if unready.isdisjoint(map(_identity, iterate_nested(configured))):
                yield configured
            else:
                unready.add(_identity(configured))


def _identity(configured: Configured) -> tuple[str, str]:
    return configured.kind, configured.text
