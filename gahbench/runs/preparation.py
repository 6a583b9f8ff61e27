"""From a suite to all that it needs from elsewhere: what is missing on this machine, and getting it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gahbench._util.errors import DataError, GahbenchError, listing
from gahbench.planning.suite import Suite, load_suite
from gahbench.planning.suite_changes import SuiteChanges
from gahbench.planning.suite_files import plugin_sources
from gahbench.registry.configured import Configured
from gahbench.registry.preparation import preparation
from gahbench.registry.registry import Registry, open_registry


@dataclass(frozen=True)
class Missing:
    """What a suite misses on this machine."""

    suite: Path
    things: tuple[tuple[str, str], ...] = ()
    datasets: tuple[str, ...] = ()

    def require_datasets(self) -> None:
        """Refuse a suite whose images are not here."""
        if self.datasets:
            things = "".join(f"; missing here: {plugin}: {what}" for plugin, what in self.things)
            raise DataError(
                f"{self.suite}: the units of {listing(self.datasets)} cannot be planned before the images are here, as "
                f"their content is part of every key; 'gahbench prepare' gets what is missing{things}"
            )


@dataclass(frozen=True)
class Prepared:
    """The outcome of preparing one plugin."""

    plugin: str
    got: tuple[str, ...] = ()
    error: str | None = None


def prepare(
    suite: str | Path,
    *,
    entrants: Sequence[str] = (),
    settings: Mapping[str, Any] | Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    report: Callable[[Prepared], None] = lambda prepared: None,
) -> tuple[Prepared, ...]:
    """Get all that a suite needs from elsewhere or that takes long once: downloads, decoded images.

    A run does so itself where something is missing; on a machine without a network it cannot.

    Parameters
    ----------
    suite
        Path of a suite, or the name of one that gahbench ships.
    entrants, settings
        As of :func:`gahbench.run`.
    plugins
        Plugin files, or folders of them.
    report
        Called with each outcome when it is there.

    Returns
    -------
    tuple of Prepared
        One for each plugin that may need something: ``got``, what was missing and is here now, and ``error``, why
        something could not be had, or ``None``.

    Raises
    ------
    GahbenchError
        If the suite, a plugin or a parameter is not accepted.

    Examples
    --------
    >>> [one.error for one in prepare("quick")]
    [None]
    """
    registry = open_registry(plugin_sources(plugins, suite))
    found: list[Prepared] = []
    failed: set[tuple[str, str]] = set()
    for configured in _in_order(load_suite(suite, registry, SuiteChanges.of(entrants, settings)), failed):
        prepared = _prepare(configured)
        if prepared is None:
            continue
        if prepared.error is not None:
            failed.add(_name(configured))
        found.append(prepared)
        report(prepared)
    return tuple(found)


def find_missing(registry: Registry, suite: str | Path, changes: SuiteChanges | Sequence[str] = ()) -> Missing:
    """Return what the plugins of a suite miss on this machine, without getting any of it."""
    loaded = load_suite(suite, registry, changes)
    things: list[tuple[str, str]] = []
    unready: set[tuple[str, str]] = set()
    for configured in _in_order(loaded, unready):
        try:
            own = preparation(configured)
            texts = own.missing() if own is not None else ()
        except Exception:
            continue
        things += [(configured.where, text) for text in texts]
        if texts:
            unready.add(_name(configured))
    datasets = tuple(configured.label for configured in loaded.datasets if _name(configured) in unready)
    return Missing(loaded.path, tuple(things), datasets)


def _prepare(configured: Configured) -> Prepared | None:
    """Prepare one plugin, which may raise any error; ``None`` if it never needs anything."""
    try:
        own = preparation(configured)
        if own is None:
            return None
        before = own.missing()
        own.prepare()
        left = own.missing()
    except (GahbenchError, ValueError) as error:
        return Prepared(configured.where, error=str(error))
    except Exception as error:
        return Prepared(configured.where, error=f"{type(error).__name__}: {error}")
    got = tuple(text for text in before if text not in left)
    return Prepared(configured.where, got, f"still missing: {'; '.join(left)}" if left else None)


def _in_order(suite: Suite, unready: set[tuple[str, str]]) -> Iterator[Configured]:
    """Yield all plugins of a suite once, each after the plugins that its parameters name, if these are ready.

    The caller adds plugins that are not ready; plugins whose parameters name such a plugin are added here.
    """
    seen: set[tuple[str, str]] = set()

    def walk(configured: Configured) -> Iterator[Configured]:
        if _name(configured) in seen:
            return
        seen.add(_name(configured))
        named = [
            one for inner in configured.nested.values() for one in (inner if isinstance(inner, tuple) else (inner,))
        ]
        for inner in named:
            yield from walk(inner)
        # A constructor may read the images of a dataset that a parameter names.
        if unready.intersection(map(_name, named)):
            unready.add(_name(configured))
        else:
            yield configured

    return itertools.chain.from_iterable(map(walk, (*suite.datasets, *suite.entrants, *suite.metrics)))


def _name(configured: Configured) -> tuple[str, str]:
    return configured.kind, configured.text
