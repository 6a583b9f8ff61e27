"""Help of options, taken from the docstrings and defaults of public functions without importing them."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import re
from pathlib import Path
from typing import Any

_SECTION = re.compile(r"^Parameters\n-+\n(.*?)(?=^\w+\n-+$|\Z)", flags=re.DOTALL | re.MULTILINE)
#: The line that names one parameter or several, and the indented lines of their description.
_ENTRY = re.compile(r"^(\S.*)\n((?: .*\n?|\n)*)", flags=re.MULTILINE)
_MARKUP = re.compile(r"(?::\w+:)?`+~?([^`]*)`+")


def help_of(target: str, parameter: str, *, default: bool = False) -> str:
    """Return the description of a parameter in the numpydoc docstring of ``"module:function"`` or ``"module:Class"``.

    With `default`, the description ends in the default of the parameter, for options that typer gives no default.
    """
    descriptions, defaults = _read(target)
    value = defaults.get(parameter)
    if not default or value is None or value is False or value in ((), ""):
        return descriptions[parameter]
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"{descriptions[parameter]} [default: {text}]"


@functools.cache
def definition_of(target: str) -> ast.FunctionDef | ast.ClassDef:
    """Return the syntax tree of ``"module:function"`` or ``"module:Class"``."""
    module, _, name = target.partition(":")
    spec = importlib.util.find_spec(module)
    tree = ast.parse(Path(str(spec and spec.origin)).read_bytes())
    definitions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return next(node for node in definitions if node.name == name)


@functools.cache
def _read(target: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the descriptions of parameters, and the defaults that are literals, by name."""
    definition = definition_of(target)
    section = _SECTION.search(ast.get_docstring(definition) or "")
    descriptions = dict[str, str]()
    for names, text in _ENTRY.findall(section[1] if section else ""):
        description = " ".join(_MARKUP.sub(r"\1", text).split())
        descriptions |= {part.strip(" *"): description for part in names.partition(" : ")[0].split(",")}
    values: list[tuple[str, ast.expr | None]]
    if isinstance(definition, ast.ClassDef):
        values = [(ast.unparse(node.target), node.value) for node in definition.body if isinstance(node, ast.AnnAssign)]
    else:
        given = definition.args
        arguments = [*given.args[len(given.args) - len(given.defaults) :], *given.kwonlyargs]
        expressions = [*given.defaults, *given.kw_defaults]
        values = [(argument.arg, value) for argument, value in zip(arguments, expressions, strict=True)]
    defaults = {}
    for parameter, value in values:
        with contextlib.suppress(ValueError):
            defaults[parameter] = ast.literal_eval(value) if value is not None else None
    return descriptions, defaults
