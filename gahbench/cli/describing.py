"""How one plugin is described."""

from __future__ import annotations

import inspect
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gahbench.errors import PluginError, listing, suggestion
from gahbench.readable import count
from gahbench.registry import KINDS, Configured, Plugin, Registry
from gahbench.spec import format_value, parse_spec
from gahbench.suite_files import suite_files


def print_description(text: str, sources: tuple[Path, ...], console: Console) -> None:
    """Print what a plugin is, its parameters with their defaults, and its origin; or a suite's file.

    Raises
    ------
    PluginError, ParameterError
        If there is no such plugin or suite, or it does not accept a parameter.
    """
    registry = Registry(sources)
    spec = parse_spec(text)
    found = [kind for kind in KINDS if spec.name in registry.names(kind)]
    suites = suite_files()
    if not found and spec.name in suites:
        console.print(suites[spec.name].read_text(encoding="utf-8"), markup=False, highlight=False)
        return
    if not found:
        names = [*(name for kind in KINDS for name in registry.names(kind)), *suites]
        raise PluginError(
            f"nothing is named '{spec.name}'{suggestion(spec.name, names) or ';'} there are: {listing(names)}"
        )
    for kind in found:
        plugin = registry.get(kind, spec.name)
        required = [parameter.name for parameter in plugin.parameters if parameter.required]
        bare = not spec.positional and not spec.keywords
        # Whoever asks what the parameters are need not give them.
        _print(plugin, None if required and bare else registry.configure(kind, spec), console)


def _print(plugin: Plugin, configured: Configured | None, console: Console) -> None:
    label = configured.label if configured else plugin.name
    console.print(f"{plugin.kind} {label}  ({plugin.origin})", style="bold", markup=False, highlight=False)
    console.print(inspect.getdoc(plugin.factory) or "", markup=False, highlight=False)
    table = Table(title="parameters", title_justify="left", box=None, pad_edge=False)
    for name in ("name", "accepts", "default", "here"):
        table.add_column(name, overflow="fold")
    for parameter in plugin.parameters:
        default = "required" if parameter.required else format_value(parameter.default)
        here = format_value(configured.parameters[parameter.name]) if configured else ""
        table.add_row(parameter.name, parameter.type_name, default, here)
    if plugin.parameters:
        console.print(table)
    if plugin.kind == "architecture" and configured:
        console.print(f"trainable numbers on grey images: {_size(configured)}", highlight=False)


def _size(configured: Configured) -> str:
    import torch

    try:
        with torch.device("meta"):
            network = configured.build((1, 64, 64))
    except Exception as error:
        return f"unknown: it cannot be built: {type(error).__name__}: {error}"
    return count(sum(parameter.numel() for parameter in network.parameters()))
