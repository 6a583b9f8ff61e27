"""The commands ``list describe check new``."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gahbench._util.errors import ParameterError, PluginError, listing, nearest, suggestion
from gahbench._util.readable import counted
from gahbench.cli import options
from gahbench.cli.printing import say
from gahbench.planning.suite_files import suite_files, suite_summary
from gahbench.registry.plugin import KINDS, Kind, Plugin
from gahbench.registry.registry import Problem, Registry, open_registry
from gahbench.registry.source import own_docstring
from gahbench.registry.spec import Spec, format_value, parse_spec

if TYPE_CHECKING:
    from gahbench._util.shapes import Shape
    from gahbench.registry.configured import Configured
    from gahbench.testing import Report

#: Kinds to list, by plural, which is the heading.
PLURALS = {**{"bases" if kind == "basis" else f"{kind}s": kind for kind in KINDS}, "suites": "suite"}
#: Left unchanged when a docstring is wrapped anew: lists, tables, examples and directives.
_KEPT = re.compile(r"\s*([-*|]\s|>>>|\.\.\s|\[\[)")
_UNDERLINE = re.compile(r"[-=~]{3,}")
_WHOLE: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def list_(
    kind: Annotated[str | None, typer.Argument(help="Only one kind: architectures, datasets, ..., suites.")] = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """List the plugins and suites that can be used, and plugins that failed to load."""
    wanted = PLURALS.get(kind, kind) if kind else None
    if wanted not in (None, *PLURALS.values()):
        accepted = (*PLURALS, *PLURALS.values())
        raise PluginError(
            f"unknown kind '{kind}'{suggestion(str(kind), accepted) or ';'} accepted: {listing(accepted)}"
        )
    registry = open_registry(plugins_dir or ())
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for heading, name in PLURALS.items():
        if wanted in (None, name):
            table.add_row(f"[bold]{heading}[/bold]", "")
            for entry, summary in _entries(name, registry):
                table.add_row(f"  {entry}", escape(summary))
    Console().print(table)
    print_problems(registry.problems, Console())


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


def describe(
    name: Annotated[str, typer.Argument(help="A plugin, optionally with parameters, or a suite.")],
    plugins_dir: options.Plugins = None,
    shape: Annotated[
        str | None,
        typer.Option(help="channels,height,width: images to count a network's multiply-adds for. [default: 1,64,64]"),
    ] = None,
) -> None:
    """Describe a plugin: its summary, parameters, origin, and measured facts.

    For a network: parameters, multiply-adds, receptive field, whether it is homogeneous, blind, differentiable; for a
    reference: what it uses, where it is defined; of a metric: unit, direction, needs. Facts that cannot be measured are
    listed as unknown, with the reason.
    """
    registry, console = open_registry(plugins_dir or ()), Console()
    images = None if shape is None else _shape(shape)
    spec = parse_spec(name)
    found = [kind for kind in KINDS if spec.name in registry.names(kind)]
    suites = suite_files()
    if not found and spec.name in suites:
        console.print(suites[spec.name].read_text(encoding="utf-8"), markup=False, highlight=False)
        return
    if not found:
        names = [*(name for kind in KINDS for name in registry.names(kind)), *suites]
        raise PluginError(
            f"nothing is named '{spec.name}'{nearest(spec.name, names) or ';'} 'gahbench list' prints all names"
            f"{registry.missing}"
        )
    for kind in found:
        plugin = registry.get(kind, spec.name)
        required = [parameter.name for parameter in plugin.parameters if parameter.required]
        bare = not spec.positional and not spec.keywords
        # Required parameters need not be given to be described.
        configured = None if required and bare else _configure(registry, kind, spec)
        # With a checkpoint an architecture becomes another plugin, which holds it.
        _print_plugin(configured.plugin if configured else plugin, configured, console)
        if configured is None:
            console.print(f"to measure it, give it {listing(required)}", markup=False, highlight=False)
        else:
            _print_facts(configured, registry, images, console)


def _configure(registry: Registry, kind: Kind, spec: Spec) -> Configured:
    from gahbench.planning.suite_entries import configure_entrant

    if kind == "architecture" and "checkpoint" in spec.keywords:
        return configure_entrant(registry, spec)
    return registry.configure(kind, spec)


def _print_plugin(plugin: Plugin, configured: Configured | None, console: Console) -> None:
    """Print the summary of a plugin, and its parameters with their defaults."""
    label = configured.label if configured else plugin.name
    console.print(f"{plugin.kind} {label}  ({plugin.origin})", style="bold", markup=False, highlight=False)
    # Claims are read from files by one function, whose docstring says nothing of them.
    doc = plugin.summary if plugin.kind == "claim" else own_docstring(plugin.factory)
    text = reflowed(doc, console.width) or "It has no docstring; its first line would be shown by `gahbench list`."
    say(text, "" if doc else "dim")
    table = Table(title="parameters", title_justify="left", box=None, pad_edge=False)
    for name in ("name", "accepts", "default", "here"):
        table.add_column(name, overflow="fold")
    for parameter in plugin.parameters:
        default = "required" if parameter.required else format_value(parameter.default)
        here = format_value(configured.parameters[parameter.name]) if configured else ""
        # A list is written in brackets, which would be taken for markup.
        table.add_row(parameter.name, *map(escape, (parameter.type_name, default, here)))
    if plugin.parameters:
        console.print(table)


def _print_facts(configured: Configured, registry: Registry, shape: Shape | None, console: Console) -> None:
    from gahbench.explore.description import facts

    for fact in facts(configured, registry, shape):
        # As they come: some take seconds.
        console.print(Text.assemble((f"{fact.name}: ", "bold"), fact.value))


def _shape(text: str) -> Shape:
    try:
        channels, height, width = (int(part) for part in text.split(","))
    except ValueError:
        channels = height = width = 0
    if min(channels, height, width) < 1:
        raise ParameterError(f"--shape {text}: expected channels,height,width, such as 3,80,80")
    return channels, height, width


def reflowed(doc: str, width: int) -> str:
    """Return a docstring with its paragraphs wrapped for a terminal of a given width.

    Headings, lists, tables and examples keep their lines.
    """
    found: list[str] = []
    paragraph: list[str] = []

    def end() -> None:
        if paragraph:
            indent = " " * (len(paragraph[0]) - len(paragraph[0].lstrip()))
            text = " ".join(line.strip() for line in paragraph)
            wide = max(width, len(indent) + 20)
            found.append(textwrap.fill(text, wide, initial_indent=indent, subsequent_indent=indent, **_WHOLE))
            paragraph.clear()

    lines = doc.splitlines()
    for place, line in enumerate(lines):
        under = place + 1 < len(lines) and bool(_UNDERLINE.fullmatch(lines[place + 1].strip()))
        if not line.strip() or under or _UNDERLINE.fullmatch(line.strip()) or _KEPT.match(line):
            end()
            found.append(line)
            continue
        if paragraph and len(line) - len(line.lstrip()) != len(paragraph[0]) - len(paragraph[0].lstrip()):
            end()
        paragraph.append(line)
    end()
    return "\n".join(found)


def check(file: Annotated[Path, typer.Argument(help="A plugin file, or a folder of them.")]) -> None:
    """Put the plugins of a file through the contract checks.

    Exit status: 0 all passed, 1 some failed, 2 the file cannot be loaded.
    """
    from gahbench.cli.progress import Progress
    from gahbench.testing import check_file

    with Progress("checking") as shown:

        def progress(report: Report) -> None:
            last = f", last: {report.findings[-1].check}" if report.findings else ""
            shown(f"{report.kind} {report.label}: {counted(len(report.findings), 'check')} done{last}")

        reports = check_file(file, progress)
    for report in reports:
        typer.echo(str(report))
    failed = sum(not report.passed for report in reports)
    typer.echo(f"{len(reports) - failed} of {len(reports)} plugins passed")
    if failed:
        raise typer.Exit(1)


def new(
    kind: Annotated[Kind, typer.Argument(help="Kind of the plugin.")],
    name: Annotated[str, typer.Argument(help="Name of the plugin, such as my-denoiser.")],
    folder: Annotated[Path, typer.Option("--folder", help="Folder to write it to.")] = Path(),
) -> None:
    """Write a commented one-file plugin that runs as it is."""
    from gahbench.registry.scaffold import next_commands, write_plugin

    file = write_plugin(kind, name, folder)
    typer.echo(f"wrote {file}; now try")
    for command in next_commands(kind, name, file):
        typer.echo(f"  {command}")
