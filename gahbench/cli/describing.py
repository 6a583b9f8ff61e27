"""Printing the description of one plugin."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gahbench._util.errors import ParameterError, PluginError, listing, nearest
from gahbench._util.shapes import Shape
from gahbench.planning.suite_files import suite_files
from gahbench.registry.configured import Configured
from gahbench.registry.plugin import KINDS, Kind, Plugin
from gahbench.registry.registry import Registry, open_registry
from gahbench.registry.source import own_docstring
from gahbench.registry.spec import Spec, format_value, parse_spec

#: Left unchanged: lists, tables, examples and directives.
_KEPT = re.compile(r"\s*([-*|]\s|>>>|\.\.\s|\[\[)")
_UNDERLINE = re.compile(r"[-=~]{3,}")
_WHOLE: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def print_description(text: str, sources: tuple[Path, ...], shape: str | None, console: Console) -> None:
    """Print the summary of a plugin, its parameters with defaults and measured facts; or a suite's file.

    Parameters
    ----------
    text
        Name, with or without parameters.
    sources
        Plugin files and folders.
    shape
        ``C,H,W`` of the images that a network's multiply-adds are counted for.

    Raises
    ------
    PluginError, ParameterError
        If there is no such plugin or suite, or it does not accept a parameter; or if the shape cannot be read.
    """
    registry = open_registry(sources)
    images = None if shape is None else _shape(shape)
    spec = parse_spec(text)
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
        _print(configured.plugin if configured else plugin, configured, console)
        if configured is None:
            console.print(f"to measure it, give it {listing(required)}", markup=False, highlight=False)
        else:
            _print_facts(configured, registry, images, console)


def _configure(registry: Registry, kind: Kind, spec: Spec) -> Configured:
    from gahbench.planning.suite_entries import configure_entrant

    if kind == "architecture" and "checkpoint" in spec.keywords:
        return configure_entrant(registry, spec)
    return registry.configure(kind, spec)


def _print(plugin: Plugin, configured: Configured | None, console: Console) -> None:
    label = configured.label if configured else plugin.name
    console.print(f"{plugin.kind} {label}  ({plugin.origin})", style="bold", markup=False, highlight=False)
    # Claims are read from files by one function, whose docstring says nothing of them.
    doc = plugin.summary if plugin.kind == "claim" else own_docstring(plugin.factory)
    text = reflowed(doc, console.width) or "It has no docstring; its first line would be shown by `gahbench list`."
    console.print(text, style="" if doc else "dim", markup=False, highlight=False, soft_wrap=True)
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
