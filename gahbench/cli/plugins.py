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
from rich.text import Text

from gahbench._util.errors import ParameterError, PluginError, listing, suggestion
from gahbench._util.readable import pluralize
from gahbench.cli import options
from gahbench.cli.printing import print_table, say
from gahbench.planning.suite_files import suite_files, suite_summary
from gahbench.registry.configured import KINDS, Kind, Plugin
from gahbench.registry.registry import Problem, open_registry
from gahbench.registry.spec import format_value

if TYPE_CHECKING:
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
            say(heading, "bold")
            names = ", ".join(suite_files() if name == "suite" else registry.names(cast(Kind, name)))
            typer.echo(textwrap.fill(names, console.width, initial_indent="  ", subsequent_indent="  ", **_WRAP))
    elif chosen == "suite":
        print_table((suite, suite_summary(file)) for suite, file in suite_files().items())
    else:
        found = registry.plugins(cast(Kind, chosen))
        origins = ["" if plugin.is_built_in else f"  ({plugin.origin})" for plugin in found]
        print_table((plugin.name, plugin.summary + origin) for plugin, origin in zip(found, origins, strict=True))
    print_problems(registry.problems)


def print_problems(problems: Iterable[Problem]) -> None:
    """Print which plugins failed to load, and why."""
    for problem in problems:
        say(f"failed to load {problem.origin}: {problem.error}", "red", err=True)


def describe(
    name: Annotated[str, typer.Argument(help="A plugin, optionally with parameters, or a suite.")],
    plugins_dir: options.Plugins = None,
    shape: Annotated[
        tuple[int, int, int] | None,
        typer.Option(help="Image shape, channels height width, for counting multiply-adds. [default: 1 64 64]"),
    ] = None,
) -> None:
    """Describe a plugin or suite: its summary, parameters, origin, and measured facts.

    Facts of a network are its number of parameters, multiply-adds, receptive field, and whether it is homogeneous,
    blind and differentiable; of a reference, what it uses and where it is defined; of a metric, its unit, direction and
    requirements. Facts that cannot be measured are listed as unknown, with the reason.
    """
    from gahbench.explore.description import facts, find_plugins

    registry, suites = open_registry(plugins_dir or ()), suite_files()
    if name in suites and not any(registry.find(kind, name) for kind in KINDS):
        typer.echo(suites[name].read_text(encoding="utf-8"))
        return
    for plugin, configured in find_plugins(name, registry):
        _print_plugin(plugin, configured)
        if configured is None:
            say(f"to measure it, set {listing(each.name for each in plugin.parameters if each.required)}")
            continue
        for fact, value in facts(configured, registry, shape):
            # Print each fact at once, since some take seconds to measure.
            Console().print(Text.assemble((f"{fact}: ", "bold"), value))


def _print_plugin(plugin: Plugin, configured: Configured | None) -> None:
    """Print the summary of a plugin, and its parameters with their defaults."""
    say(f"{plugin.kind} {configured.label if configured else plugin.name}  ({plugin.origin})", "bold")
    # All claims share a single factory, whose docstring does not describe them.
    doc = plugin.summary if plugin.kind == "claim" else inspect.cleandoc(plugin.factory.__doc__ or "")
    say(reflow(doc, Console().width) or "This plugin has no docstring; `gahbench list` would show its first line.")
    if plugin.parameters:
        values = {each.name: "required" if each.required else format_value(each.default) for each in plugin.parameters}
        given = {name: format_value(value) for name, value in configured.parameters.items()} if configured else {}
        rows = [(each.name, each.type_name, values[each.name], given.get(each.name, "")) for each in plugin.parameters]
        print_table(rows, ("parameter", "accepts", "default", "value"), texts=4)


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
