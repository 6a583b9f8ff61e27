"""Reference pages that are generated from code: commands, fields of suites, built-in plugins, and public names."""

import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from typer.main import get_command

from gahbench.cli.app import app
from gahbench.planning.suite_fields import Limits, Sampling, Scoring, SuiteFile
from gahbench.registry.configured import KINDS
from gahbench.registry.registry import Registry
from gahbench.training.recipe import RECIPES, Training


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(escape_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def escape_cell(cell: str) -> str:
    """Return a string as a Markdown table cell: on one line, with roles as code, and with bars escaped."""
    text = re.sub(r"``(.+?)``", r"`\1`", " ".join(cell.split()))
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return re.sub(r"(?<!\\)\|", r"\|", text)


def commands() -> str:
    """Return a table of all commands, and the help of each."""
    all_commands = list(walk_commands(get_command(app), "gahbench"))
    rows = [
        (f"[`{name}`](#{name.replace(' ', '-')})", str(command.help).split("\n\n")[0]) for name, command in all_commands
    ]
    return table(["command", "does"], rows) + "".join(command_section(name, command) for name, command in all_commands)


def walk_commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the full name and the command of each command in a group and its subgroups."""
    for command_name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from walk_commands(command, f"{name} {command_name}")
        else:
            yield f"{name} {command_name}", command


def command_section(name: str, command: Any) -> str:
    """Return the section of a command: its help, arguments and options."""
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    words = [
        f"{parameter.name.upper()}" if parameter.required else f"[{parameter.name.upper()}]" for parameter in arguments
    ]
    rows = []
    for parameter in command.params:
        if not parameter.hidden:
            names = ", ".join(f"`{text}`" for text in (*parameter.opts, *parameter.secondary_opts))
            rows.append(
                (
                    f"`{parameter.name.upper()}`" if parameter in arguments else names,
                    f"{parameter.help or ''}{default_suffix(parameter)}",
                )
            )
    usage = " ".join([name, *words, "[OPTIONS]"])
    return f"\n## {name}\n\n```text\n{usage}\n```\n\n{inspect.cleandoc(command.help)}\n\n{table(['', ''], rows)}"


def default_suffix(parameter: Any) -> str:
    """Return the default of a parameter in brackets; empty if there is no default or the help states it."""
    value = parameter.default
    if value in (None, False, (), [], "") or not parameter.show_default or callable(value):
        return ""
    return f" [default: {', '.join(value) if isinstance(value, list | tuple) else value}]"


def suite_fields() -> str:
    """Return tables of the fields of a suite file."""
    sections = [
        ("Fields of a suite", SuiteFile),
        ("scoring", Scoring),
        ("training", Training),
        ("scoring: sampling", Sampling),
        ("limits", Limits),
    ]
    return "\n".join(f"## {title}\n\n{fields(model)}" for title, model in sections)


def fields(model: type[BaseModel]) -> str:
    """Return a table of the fields of a model, with their defaults and their descriptions from the docstring."""
    lines = inspect.cleandoc(str(model.__doc__)).split("\n\nParameters\n----------\n")
    rows = []
    for names, text in re.findall(r"^(\S.*)\n((?:[ ]{4}.*\n?|\n(?=[ ]{4}))+)", lines[1], flags=re.MULTILINE):
        parts = names.split(", ")
        defaults = [f"`{name}`: {default_of(model, name)}" for name in parts]
        if len(parts) == 1:
            defaults = [default_of(model, names)]
        rows.append((", ".join(f"`{name}`" for name in parts), "; ".join(defaults), text))
    return f"{lines[0].replace('``', '`')}\n\n{table(['field', 'default', 'meaning'], rows)}"


def default_of(model: type[BaseModel], name: str) -> str:
    """Return the default of a field as text; if recipes of training differ, the default of each recipe."""
    field = model.model_fields[name]
    default_text = "required" if field.is_required() else "–" if field.default_factory else format_yaml(field.default)
    recipes = RECIPES if model is Training else {}
    values = {
        recipe: format_yaml(values[name]) if name in values else default_text for recipe, values in recipes.items()
    }
    if len(set(values.values())) < 2:
        return next(iter(values.values()), default_text)
    return ", ".join(f"{value} ({recipe})" for recipe, value in sorted(values.items()))


def format_yaml(value: Any) -> str:
    """Format a value as YAML code."""
    from gahbench._util.core_yaml import dump_flow

    return f"`{dump_flow(list(value) if isinstance(value, tuple) else value)}`"


def plugins() -> str:
    """Return tables of all built-in plugins, with their parameters."""
    registry = Registry()
    text = ""
    for kind in KINDS:
        rows = [
            (f"`{plugin.name}`", plugin.summary, parameters(plugin) if kind != "claim" else "")
            for plugin in registry.plugins(kind)
        ]
        text += f"\n## {kind.capitalize()}\n\n{table(['name', 'is', 'parameters'], rows)}"
    return text


def parameters(plugin: Any) -> str:
    """Return the parameters of a plugin with their defaults."""
    return ", ".join(
        f"`{parameter.name}`"
        if parameter.required
        else f"`{parameter.name}={format_yaml(parameter.default).strip('`')}`"
        for parameter in plugin.parameters
    )


def names(module: str, public: Sequence[str]) -> str:
    """Return a table of public names with the first sentences of their docstrings."""
    rows = []
    for name in public:
        item = getattr(importlib.import_module(module), name)
        text = comment(name) if is_data(item) else str(inspect.getdoc(item)).split("\n\n")[0]
        rows.append((f"{{py:obj}}`~{module}.{name}`", text))
    return table(["name", "is"], rows)


def is_data(item: Any) -> bool:
    """Return whether an object is a constant or a type alias, which has no docstring."""
    return not (inspect.isclass(item) or inspect.isroutine(item))


def comment(name: str) -> str:
    """Return the comment ``#: ...`` above the definition of a constant or type alias."""
    from sphinx.errors import PycodeError
    from sphinx.pycode import ModuleAnalyzer

    for module in sorted(module for module in sys.modules if module.startswith("gahbench.")):
        if hasattr(sys.modules[module], name):
            try:
                comments = ModuleAnalyzer.for_module(module).find_attr_docs()
            except PycodeError:
                continue
            if ("", name) in comments:
                return " ".join(comments["", name]).strip()
    raise ValueError(f"{name} has no comment '#: ...' above its definition")
