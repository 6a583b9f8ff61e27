"""How plugins and suites are listed."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gahbench._util.errors import PluginError, listing, suggestion
from gahbench.planning.suite_files import suite_files, suite_summary
from gahbench.registry.plugin import KINDS
from gahbench.registry.registry import Registry

_HEADINGS = {"basis": "bases"}


def print_list(kind: str | None, sources: tuple[Path, ...], console: Console) -> None:
    """Print plugins by kind with their summaries, suites, and what failed to load.

    Raises
    ------
    PluginError
        If there is no such kind.
    """
    registry = Registry(sources)
    kinds = (*KINDS, "suite")
    if kind is not None and kind not in kinds:
        raise PluginError(f"unknown kind '{kind}'{suggestion(kind, kinds) or ';'} accepted: {listing(kinds)}")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name in KINDS:
        if kind in (None, name):
            table.add_row(f"[bold]{_HEADINGS.get(name, name + 's')}[/bold]", "")
            for plugin in registry.plugins(name):
                origin = "" if plugin.is_built_in else f"  ({plugin.origin})"
                table.add_row(f"  {plugin.name}", escape(plugin.summary + origin))
    if kind in (None, "suite"):
        table.add_row("[bold]suites[/bold]", "")
        for suite, file in suite_files().items():
            table.add_row(f"  {suite}", escape(suite_summary(file)))
    console.print(table)
    for problem in registry.problems:
        console.print(f"[red]failed to load[/red] {escape(problem.origin)}: {escape(problem.error)}", soft_wrap=True)
