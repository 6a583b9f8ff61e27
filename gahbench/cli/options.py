"""Parameters of commands, most of them parameters of public functions with the types and help of their docstrings."""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gahbench._util.core_yaml import as_number
from gahbench._util.errors import ParameterError
from gahbench.contracts.engines import check_device

RUN = "gahbench.runs.running:run"

_SECTION = re.compile(r"^Parameters\n-+\n(.*?)(?=^\w+\n-+$|\Z)", flags=re.DOTALL | re.MULTILINE)
#: The line that names one parameter or several, and the indented lines of their description.
_ENTRY = re.compile(r"^(\S.*)\n((?: .*\n?|\n)*)", flags=re.MULTILINE)
_TELLS_DEFAULT = re.compile(r"\bby default\b|the default\)", flags=re.IGNORECASE)
_MARKUP = re.compile(r"(?::\w+:)?`+~?([^`]*)`+")


def _complete_suite(incomplete: str) -> list[str]:
    """Complete the name of a built-in suite."""
    from gahbench.planning.suite_files import suite_files

    return [name for name in suite_files() if name.startswith(incomplete)]


@functools.cache
def _read(target: str) -> tuple[dict[str, str], dict[str, tuple[str, Any]]]:
    """Return the descriptions of the parameters of ``"module:function"``, and their annotations and defaults.

    The source is parsed, since importing it may import torch.
    """
    module, _, name = target.partition(":")
    spec = importlib.util.find_spec(module)
    tree = ast.parse(Path(str(spec and spec.origin)).read_bytes())
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    section = _SECTION.search(ast.get_docstring(function) or "")
    descriptions = dict[str, str]()
    for names, text in _ENTRY.findall(section[1] if section else ""):
        description = " ".join(_MARKUP.sub(r"\1", text).split())
        descriptions |= {part.strip(" *"): description for part in names.partition(" : ")[0].split(",")}
    given = function.args
    required = [None] * (len(given.args) - len(given.defaults))
    defaults = [*required, *given.defaults, *given.kw_defaults]
    declared = dict[str, tuple[str, Any]]()
    for argument, expression in zip([*given.args, *given.kwonlyargs], defaults, strict=True):
        try:
            default = inspect.Parameter.empty if expression is None else ast.literal_eval(expression)
        except ValueError:
            # Defaults such as functions are not shown.
            default = None
        declared[argument.arg] = (ast.unparse(argument.annotation) if argument.annotation else "", default)
    return descriptions, declared


Suite = Annotated[str, typer.Argument(help=_read(RUN)[0]["suite"], autocompletion=_complete_suite)]
Folder = Annotated[Path, typer.Argument(help="A results folder.")]
Planned = Annotated[Path, typer.Argument(help="A results folder, as a run leaves it.")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugins-dir", "-p", help="A plugin file, a folder of plugin files, or a YAML file of claims. Repeatable."
    ),
]
OnlyEntrant = Annotated[
    list[str] | None,
    typer.Option("--entrant", "-e", help="Show only entrants of this label, name or pattern. Repeatable."),
]
OnlyDataset = Annotated[
    list[str] | None,
    typer.Option("--dataset", "-d", help="Show only datasets of this label, name or pattern. Repeatable."),
]
OnlyMetric = Annotated[
    list[str] | None,
    typer.Option("--metric", "-m", help="Show only PSNR and metrics of this label, name or pattern. Repeatable."),
]
TableOut = Annotated[Path | None, typer.Option("--out", "-o", help="File to write the table to. [default: print it]")]

#: Flags of options whose parameter has another name.
_FLAGS = {
    "out": ("--out", "-o"),
    "plugins": ("--plugins-dir", "-p"),
    "entrants": ("--entrant", "-e"),
    "dataset": ("--dataset", "-d"),
    "datasets": ("--dataset", "-d"),
    "metrics": ("--metric", "-m"),
    "settings": ("--set",),
    "seeds": ("--seed",),
    "sigmas": ("--sigma", "-s"),
    "bases": ("--basis", "-b"),
    "ranks": ("--rank", "-k"),
    "count": ("--count", "-n"),
}
#: Limits of the options of runs, which are checked before anything is written.
_LIMITS: dict[str, dict[str, Any]] = {
    "fits": {"min": 0},
    **{name: {"min": 1} for name in ("units", "workers", "threads")},
    "device": {"callback": check_device},
}
#: Parameters that are no options: plugins are given as files, and the command line shows progress itself.
_HIDDEN = {"quiet", "progress", "registry"}
#: How a part of a list of numbers is parsed, and what is accepted, by the type of the numbers.
_NUMBERS: dict[str, tuple[Callable[[str], float], str]] = {
    "Sequence[float]": (lambda text: float(as_number(text)), "numbers, such as 0.05,0.15 or 25/255"),
    "Sequence[int]": (int, "whole numbers, such as 5,41"),
}


def parameters_of(target: str, *names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace ``**arguments`` of a command by parameters of a public function ``"module:function"``.

    Types, defaults and help are those of the function. By default, all its parameters are taken but those of the
    command itself, and those that are no options.
    """
    declared = _read(target)[1]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        *own, _ = inspect.signature(command, eval_str=True).parameters.values()
        hidden = _HIDDEN | {parameter.name for parameter in own}
        taken = [name for name in declared if name in (names or declared.keys() - hidden)]

        @functools.wraps(command)
        def call(**values: Any) -> None:
            for name, value in values.items():
                if value and name in taken and declared[name][0] in _NUMBERS:
                    values[name] = _parse_numbers(name, value, *_NUMBERS[declared[name][0]])
                # Public functions take an empty tuple, their default, for no values.
                elif value == []:
                    values[name] = ()
            command(**values)

        parameters = [*(_parameter(target, name) for name in taken), *own]
        by_keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        vars(call)["__signature__"] = inspect.Signature(by_keyword)
        return call

    return decorate


def _parameter(target: str, name: str) -> inspect.Parameter:
    """Return a parameter of a command, in the type that the text of an annotation stands for."""
    descriptions, declared = _read(target)
    text, (annotation, default) = descriptions[name], declared[name]
    is_list = "Sequence" in annotation or annotation == "Settings"
    types = {"Path": Path, "Source": Path, "int": int, "float": float, "bool": bool}
    kind: Any = next((types[word] for word in types if word in annotation and annotation not in _NUMBERS), str)
    kind = list[kind] if is_list else kind | None if default is None else kind
    info: Any
    if name != "out" and default is inspect.Parameter.empty:
        info = typer.Argument(help=text, show_default=False)
    else:
        flags = _FLAGS.get(name, (f"--{name.replace('_', '-')}",))
        limits = _LIMITS.get(name, {}) if ".runs." in target else {}
        has_default = default not in (False, None, (), "") and not _TELLS_DEFAULT.search(text)
        info = typer.Option(*flags, help=f"{text} Repeatable." if is_list else text, show_default=has_default, **limits)
    value = tuple(map(str, default)) if is_list and default else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=Annotated[kind, info])


def _parse_numbers(name: str, texts: list[str], convert: Callable[[str], float], accepted: str) -> list[float]:
    """Parse strings of numbers separated by commas."""
    try:
        return [convert(part.strip()) for text in texts for part in text.split(",")]
    except ValueError as error:
        raise ParameterError(f"{_FLAGS[name][0]} {' '.join(texts)}; accepted: {accepted}") from error
