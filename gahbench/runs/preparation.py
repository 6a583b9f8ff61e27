"""Preparation of suites: finding and fetching the data that their plugins lack on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gahbench._util.error_text import error_text
from gahbench._util.errors import DataError, GahbenchError, listing
from gahbench.planning.suite import Suite, load_suite
from gahbench.planning.suite_changes import SuiteChanges
from gahbench.registry.configured import Configured, iterate_nested, preparation
from gahbench.registry.registry import open_registry


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
    registry = open_registry(plugins)
    loaded = load_suite(suite, registry, SuiteChanges.from_arguments(entrants, settings))
    outcomes: list[Prepared] = []

    def prepare_plugin(configured: Configured) -> bool:
        try:
            preparer = preparation(configured)
            if preparer is None:
                return True
            missing = preparer.missing()
            preparer.prepare()
            left = preparer.missing()
            error = f"still missing: {'; '.join(left)}" if left else None
            outcome = Prepared(configured.where, tuple(text for text in missing if text not in left), error)
        except Exception as raised:
            is_expected = isinstance(raised, GahbenchError | ValueError)
            outcome = Prepared(configured.where, error=str(raised) if is_expected else error_text(raised))
        outcomes.append(outcome)
        report(outcome)
        return outcome.error is None

    _visit(loaded, prepare_plugin)
    return tuple(outcomes)


def find_missing(suite: Suite) -> Missing:
    """Return the items that the plugins of a suite lack on this machine, without fetching any."""
    items: list[tuple[str, str]] = []

    def lacks_nothing(configured: Configured) -> bool:
        try:
            preparer = preparation(configured)
            texts = preparer.missing() if preparer is not None else ()
        except Exception:
            return True  # Planning reports the error.
        items.extend((configured.where, text) for text in texts)
        return not texts

    is_ready = _visit(suite, lacks_nothing)
    datasets = tuple(dataset.label for dataset in suite.datasets if not is_ready[dataset.kind, dataset.text])
    return Missing(suite.path, tuple(items), datasets)


def _visit(suite: Suite, function: Callable[[Configured], bool]) -> dict[tuple[str, str], bool]:
    """Call a function, which returns whether a plugin is ready, for each plugin; return what is ready by kind and spec.

    Plugins that parameters name come first; the function is not called for a plugin whose parameters name one that is
    not ready, since a constructor may read the images of a dataset.
    """
    is_ready: dict[tuple[str, str], bool] = {}
    for entry in (*suite.datasets, *suite.entrants, *suite.metrics):
        for configured in reversed(list(iterate_nested(entry))):
            if (configured.kind, configured.text) not in is_ready:
                _, *nested = iterate_nested(configured)
                can_be_built = all(is_ready[inner.kind, inner.text] for inner in nested)
                is_ready[configured.kind, configured.text] = can_be_built and function(configured)
    return is_ready
