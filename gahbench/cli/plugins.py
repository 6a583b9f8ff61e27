"""Commands ``list describe check new``."""

from __future__ import annotations

import importlib.resources
import inspect
import itertools
import re
import shlex
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gahbench._util.errors import ParameterError, PluginError, listing, suggestion
from gahbench._util.readable import pluralize
from gahbench.cli import options
from gahbench.cli.printing import say
from gahbench.planning.suite_files import suite_files, suite_summary
from gahbench.registry.configured import KINDS, Kind, Plugin
from gahbench.registry.registry import Problem, Registry, open_registry
from gahbench.registry.spec import format_value, parse_spec

if TYPE_CHECKING:
    from gahbench._util.shapes import Shape
    from gahbench.registry.configured import Configured
    from gahbench.testing import Report

#: Kinds by their plural, which is the heading of the list.
PLURALS = {**{"bases" if kind == "basis" else f"{kind}s": kind for kind in KINDS}, "suites": "suite"}
#: Accepted names of new plugins.
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
#: Lines of a docstring that are not wrapped: empty lines, lists, tables, examples, directives and underlines.
_VERBATIM = re.compile(r"\s*([-*|]\s|>>>|\.\.\s|\[\[|[-=~]{3,}$|$)")
_WRAP: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def list_(
    kind: Annotated[
        str | None, typer.Argument(help="List only this kind, with summaries: architectures, datasets, ..., suites.")
    ] = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """List the names of plugins and suites by kind, and plugins that failed to load; with a kind, what they are."""
    chosen = PLURALS.get(str(kind), kind)
    if chosen not in (None, *PLURALS.values()):
        accepted = (*PLURALS, *PLURALS.values())
        raise PluginError(
            f"unknown kind '{kind}'{suggestion(str(kind), accepted) or ';'} accepted: {listing(accepted)}"
        )
    registry, console = open_registry(plugins_dir or ()), Console()
    if chosen is None:
        for heading, name in PLURALS.items():
            console.print(f"[bold]{heading}[/bold]")
            names = ", ".join(suite_files() if name == "suite" else registry.names(cast(Kind, name)))
            typer.echo(textwrap.fill(names, console.width, initial_indent="  ", subsequent_indent="  ", **_WRAP))
    else:
        table = Table(box=None, show_header=False, pad_edge=False)
        for entry, summary in _entries(chosen, registry):
            table.add_row(entry, escape(summary))
        console.print(table)
    print_problems(registry.problems, console)


def print_problems(problems: Iterable[Problem], console: Console) -> None:
    """Print which plugins failed to load, and why."""
    for problem in problems:
        console.print(f"[red]failed to load[/red] {escape(problem.origin)}: {escape(problem.error)}", soft_wrap=True)


def _entries(name: str, registry: Registry) -> list[tuple[str, str]]:
    """Return the names and summaries of a kind, with the origin of plugins that are not built in."""
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
        typer.Option(help="Image shape channels,height,width for counting multiply-adds. [default: 1,64,64]"),
    ] = None,
) -> None:
    """Describe a plugin or suite: its summary, parameters, origin, and measured facts.

    Facts of a network are its number of parameters, multiply-adds, receptive field, and whether it is homogeneous,
    blind and differentiable; of a reference, what it uses and where it is defined; of a metric, its unit, direction and
    requirements. Facts that cannot be measured are listed as unknown, with the reason.
    """
    from gahbench.explore.description import facts
    from gahbench.planning.suite_entries import configure_entrant

    registry, console = open_registry(plugins_dir or ()), Console()
    images = None if shape is None else _parse_shape(shape)
    spec = parse_spec(name)
    kinds = [kind for kind in KINDS if spec.name in registry.names(kind)]
    suites = suite_files()
    if not kinds and spec.name in suites:
        typer.echo(suites[spec.name].read_text(encoding="utf-8"))
        return
    if not kinds:
        names = [*(name for kind in KINDS for name in registry.names(kind)), *suites]
        raise PluginError(
            f"nothing is named '{spec.name}'{suggestion(spec.name, names, most=3) or ';'} 'gahbench list' prints all "
            f"names{registry.missing}"
        )
    for kind in kinds:
        plugin = registry.get(kind, spec.name)
        required = [parameter.name for parameter in plugin.parameters if parameter.required]
        # A plugin whose required parameters are not set is described, but not measured.
        if required and not spec.positional and not spec.keywords:
            _print_plugin(plugin, None, console)
            say(f"to measure it, set {listing(required)}")
            continue
        # A checkpoint turns an architecture into a reference that holds the weights.
        is_trained = kind == "architecture" and "checkpoint" in spec.keywords
        configured = configure_entrant(registry, spec) if is_trained else registry.configure(kind, spec)
        _print_plugin(configured.plugin, configured, console)
        for fact in facts(configured, registry, images):
            # Print each fact at once, since some take seconds to measure.
            console.print(Text.assemble((f"{fact.name}: ", "bold"), fact.value))


def _print_plugin(plugin: Plugin, configured: Configured | None, console: Console) -> None:
    """Print the summary of a plugin, and its parameters with their defaults."""
    label = configured.label if configured else plugin.name
    console.print(f"{plugin.kind} {label}  ({plugin.origin})", style="bold", markup=False, highlight=False)
    # All claims share a single factory, whose docstring does not describe them.
    doc = plugin.summary if plugin.kind == "claim" else inspect.cleandoc(plugin.factory.__doc__ or "")
    text = reflow(doc, console.width) or "This plugin has no docstring; `gahbench list` would show its first line."
    say(text, "" if doc else "dim")
    table = Table(title="parameters", title_justify="left", box=None, pad_edge=False)
    for name in ("name", "accepts", "default", "value"):
        table.add_column(name, overflow="fold")
    for parameter in plugin.parameters:
        default = "required" if parameter.required else format_value(parameter.default)
        value = format_value(configured.parameters[parameter.name]) if configured else ""
        # Escape the brackets of lists, which rich would read as markup.
        table.add_row(parameter.name, *map(escape, (parameter.type_name, default, value)))
    if plugin.parameters:
        console.print(table)


def _parse_shape(text: str) -> Shape:
    try:
        channels, height, width = (int(part) for part in text.split(","))
    except ValueError:
        channels = height = width = 0
    if min(channels, height, width) < 1:
        raise ParameterError(f"--shape {text}; accepted: channels,height,width, such as 3,80,80")
    return channels, height, width


def reflow(doc: str, width: int) -> str:
    """Wrap the paragraphs of a docstring to the width of a terminal; lists, tables and examples keep their lines."""

    def group(line: str) -> tuple[bool, str]:
        return bool(_VERBATIM.match(line)), line[: len(line) - len(line.lstrip())]

    result: list[str] = []
    for (is_verbatim, indent), lines in itertools.groupby(doc.splitlines(), group):
        if is_verbatim:
            result += lines
        else:
            text, fit = " ".join(map(str.strip, lines)), max(width, len(indent) + 20)
            result.append(textwrap.fill(text, fit, initial_indent=indent, subsequent_indent=indent, **_WRAP))
    return "\n".join(result)


def check(file: Annotated[Path, typer.Argument(help="A plugin file, or a folder of plugin files.")]) -> None:
    """Check that the plugins of a file keep the contract of their kind.

    Exit status: 0 all plugins passed, 1 some failed, 2 the file cannot be loaded.
    """
    from gahbench.cli.progress import Progress
    from gahbench.testing import check_file

    with Progress("checking") as show_progress:

        def progress(report: Report) -> None:
            latest_check = f", last: {report.findings[-1].check}" if report.findings else ""
            show_progress(
                f"{report.kind} {report.label}: {pluralize(len(report.findings), 'check')} done{latest_check}"
            )

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
    folder: Annotated[Path, typer.Option("--folder", help="Folder to write the file to.")] = Path(),
) -> None:
    """Write a commented plugin file that already works, as a template."""
    if not _NAME.fullmatch(name):
        raise ParameterError(f"'{name}': a plugin's name is lower-case words joined by hyphens, such as my-denoiser")
    suffix = "yaml" if kind == "claim" else "py"
    registry, file = open_registry(), folder / f"{name.replace('-', '_')}.{suffix}"
    same_name = [f"a {other} named '{name}'" for other in KINDS if registry.find(other, name)]
    if same_name or file.exists():
        raise PluginError(f"{same_name[0] if same_name else file} already exists; choose another name")
    template = importlib.resources.files("gahbench.cli").joinpath("templates", f"{kind}.{suffix}.txt")
    class_name = "".join(word.capitalize() for word in name.split("-"))
    text = template.read_text(encoding="utf-8").replace("PLUGIN_NAME", name).replace("CLASS_NAME", class_name)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text.replace("THIS_FILE", file.name), encoding="utf-8")
    typer.echo(f"wrote {file}; now try")
    for line in text.splitlines():
        if (command := line.lstrip("# ")).startswith("gahbench "):
            typer.echo(f"  {command.replace('THIS_FILE', shlex.quote(str(file)))}")
