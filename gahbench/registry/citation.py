"""The works that a plugin follows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from gahbench._util.errors import PluginError
from gahbench.contracts.citation import Citation
from gahbench.registry.configured import Configured
from gahbench.registry.plugin import Plugin


def citations(plugin: Plugin) -> tuple[Citation, ...]:
    """Return the works that a plugin's class has as ``citation``; none where it has no such attribute."""
    found = getattr(plugin.factory, "citation", None)
    several = found if isinstance(found, tuple) else () if found is None else (found,)
    for one in several:
        if not isinstance(one, Citation):
            raise PluginError(
                f"{plugin.where}: its citation is of type {type(one).__name__}; accepted: a gahbench.Citation, a tuple "
                "of them, or None"
            )
    return several


def with_nested(configured: Configured) -> Iterator[Configured]:
    """Yield a plugin, and those that its parameters name, and theirs."""
    yield configured
    for inner in configured.nested.values():
        for one in inner if isinstance(inner, tuple) else (inner,):
            yield from with_nested(one)


def citation_rows(entries: Iterable[Configured]) -> list[dict[str, Any]]:
    """Return the works that plugins follow, as the table ``citations`` of results holds them."""
    rows = [
        {"entry": entry.label, "plugin": one.plugin.name, **asdict(work)}
        for entry in entries
        for one in with_nested(entry)
        for work in citations(one.plugin)
    ]
    return list({tuple(row.values()): row for row in rows}.values())
