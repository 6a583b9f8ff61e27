"""Pages of the reference that are made from code: commands, fields of suites, built-in plugins, public names."""

import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer
from typer.main import get_command

from gahbench.cli.app import app
from gahbench.planning.suite_fields import Limits, Sampling, Scoring, SuiteFile
from gahbench.registry.plugin import KINDS
from gahbench.registry.registry import Registry
from gahbench.training.recipe import RECIPES, Training


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(escaped(cell) for cell in line) + " |" for line in lines) + "\n"


def escaped(cell: str) -> str:
    """Return the text of a cell: one line, Markdown, with the bars and stars that it may have inside."""
    text = re.sub(r"``(.+?)``", r"`\1`", " ".join(cell.split()))
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return re.sub(r"(?<!\\)\|", r"\|", text)


def commands() -> str:
    """Return a table of all commands, and the help of each."""
    found = list(each_command(get_command(app), "gahbench"))
    rows = [(f"[`{name}`](#{name.replace(' ', '-')})", str(command.help).split("\n\n")[0]) for name, command in found]
    return table(["command", "does"], rows) + "".join(described(name, command) for name, command in found)


def each_command(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group, and of the groups in it, with their full names."""
    for last, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from each_command(command, f"{name} {last}")
        else:
            yield f"{name} {last}", command


def described(name: str, command: Any) -> str:
    """Return the section of a command: its help, arguments and options."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    words = [f"{one.name.upper()}" if one.required else f"[{one.name.upper()}]" for one in arguments]
    rows = []
    for one in command.params:
        if not one.hidden:
            names = ", ".join(f"`{text}`" for text in (*one.opts, *one.secondary_opts))
            rows.append((f"`{one.name.upper()}`" if one in arguments else names, f"{one.help or ''}{default(one)}"))
    usage = " ".join([name, *words, "[OPTIONS]"])
    return f"\n## {name}\n\n```text\n{usage}\n```\n\n{inspect.cleandoc(command.help)}\n\n{table(['', ''], rows)}"


def default(parameter: Any) -> str:
    """Return the default of a parameter in brackets, unless its help names it or it is none."""
    value = parameter.default
    if value in (None, False, ()) or "[default" in (parameter.help or "") or callable(value):
        return ""
    return f" [default: {getattr(value, 'value', value)}]"


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
    """Return a table of the fields of a model, with their defaults and the descriptions of the docstring."""
    lines = inspect.cleandoc(str(model.__doc__)).split("\n\nParameters\n----------\n")
    rows = []
    for names, text in re.findall(r"^(\S.*)\n((?:[ ]{4}.*\n?|\n(?=[ ]{4}))+)", lines[1], flags=re.MULTILINE):
        parts = names.split(", ")
        given = [f"`{name}`: {value_of(model, name)}" for name in parts]
        if len(parts) == 1:
            given = [value_of(model, names)]
        rows.append((", ".join(f"`{name}`" for name in parts), "; ".join(given), text))
    return f"{lines[0].replace('``', '`')}\n\n{table(['field', 'default', 'meaning'], rows)}"


def value_of(model: type[BaseModel], name: str) -> str:
    """Return the default of a field as text; of training, what each recipe has where they differ."""
    field = model.model_fields[name]
    own = "required" if field.is_required() else "–" if field.default_factory else shown(field.default)
    recipes = RECIPES if model is Training else {}
    values = {recipe: shown(values[name]) if name in values else own for recipe, values in recipes.items()}
    if len(set(values.values())) < 2:
        return next(iter(values.values()), own)
    return ", ".join(f"{value} ({recipe})" for recipe, value in sorted(values.items()))


def shown(value: Any) -> str:
    """Return a value as YAML has it."""
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
        f"`{one.name}`" if one.required else f"`{one.name}={shown(one.default).strip('`')}`"
        for one in plugin.parameters
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
    """Return whether something is a constant or a type, which has no docstring of its own."""
    return not (inspect.isclass(item) or inspect.isroutine(item))


def comment(name: str) -> str:
    """Return the comment ``#: ...`` above the definition of a constant or type of gahbench."""
    for module in sorted(module for module in sys.modules if module.startswith("gahbench.")):
        if hasattr(sys.modules[module], name):
            try:
                found = ModuleAnalyzer.for_module(module).find_attr_docs()
            except PycodeError:
                continue
            if ("", name) in found:
                return " ".join(found["", name]).strip()
    raise ValueError(f"{name} has no comment '#: ...' above its definition")
