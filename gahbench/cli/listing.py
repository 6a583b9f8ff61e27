"""Printing lists of plugins and suites."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gahbench._util.errors import PluginError, listing, suggestion
from gahbench.planning.suite_files import suite_files, suite_summary
from gahbench.registry.plugin import KINDS, Kind
from gahbench.registry.problems import Problem
from gahbench.registry.registry import Registry, open_registry

#: Kinds to list, by plural, which is the heading.
PLURALS = {**{"bases" if kind == "basis" else f"{kind}s": kind for kind in KINDS}, "suites": "suite"}


def print_list(kind: str | None, sources: tuple[Path, ...], console: Console) -> None:
    """Print plugins by kind with their summaries, suites, and plugins that failed to load.

    Parameters
    ----------
    kind
        Only one kind, by its plural or singular: ``bases`` or ``basis``, ``suites`` or ``suite``; ``None`` for all.
    sources
        Plugin files, or folders of them.
    console
        Where to print.

    Raises
    ------
    PluginError
        If there is no such kind.
    """
    wanted = PLURALS.get(kind, kind) if kind else None
    if wanted not in (None, *PLURALS.values()):
        accepted = (*PLURALS, *PLURALS.values())
        raise PluginError(
            f"unknown kind '{kind}'{suggestion(str(kind), accepted) or ';'} accepted: {listing(accepted)}"
        )
    registry = open_registry(sources)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for heading, name in PLURALS.items():
        if wanted in (None, name):
            table.add_row(f"[bold]{heading}[/bold]", "")
            for entry, summary in _entries(name, registry):
                table.add_row(f"  {entry}", escape(summary))
    console.print(table)
    print_problems(registry.problems, console)


def print_problems(problems: Iterable[Problem], console: Console) -> None:
    """Say which plugins failed to load, and why."""
    for problem in problems:
        console.print(f"[red]failed to load[/red] {escape(problem.place)}: {escape(problem.error)}", soft_wrap=True)


def _entries(name: str, registry: Registry) -> list[tuple[str, str]]:
    """Return names and summaries of the plugins of a kind, with the origin of those that are not built in."""
    if name == "suite":
        return [(suite, suite_summary(file)) for suite, file in suite_files().items()]
    return [
        (plugin.name, plugin.summary if plugin.is_built_in else f"{plugin.summary}  ({plugin.origin})")
        for plugin in registry.plugins(cast(Kind, name))
    ]
