"""Arguments and options of commands, most of them parameters of public functions with the help of their docstrings."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gahbench.cli.help import definition_of, help_of
from gahbench.contracts.engines import check_device

RUN = "gahbench.runs.running:run"


def _complete_suite(incomplete: str) -> list[str]:
    """Complete the name of a built-in suite."""
    from gahbench.planning.suite_files import suite_files

    return [name for name in suite_files() if name.startswith(incomplete)]


Suite = Annotated[str, typer.Argument(help=help_of(RUN, "suite"), autocompletion=_complete_suite)]
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
    "datasets": ("--dataset", "-d"),
    "metrics": ("--metric", "-m"),
    "settings": ("--set",),
    "seeds": ("--seed",),
}
_LIMITS: dict[str, dict[str, Any]] = {
    **{name: {"min": 0} for name in ("fits", "seeds")},
    **{name: {"min": 1} for name in ("units", "workers", "threads")},
    "device": {"callback": check_device},
}


def parameters_of(target: str, *names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace ``**arguments`` of a command by parameters of a public function ``"module:function"``.

    Types, defaults and help are those of the function, whose source is parsed. By default, all its parameters but
    ``quiet`` and those of the command itself are taken.
    """
    function = definition_of(target)
    assert isinstance(function, ast.FunctionDef)
    arguments = [*function.args.args, *function.args.kwonlyargs]
    required = len(function.args.args) - len(function.args.defaults)
    defaults = [*[None] * required, *function.args.defaults, *function.args.kw_defaults]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        *own, _ = inspect.signature(command, eval_str=True).parameters.values()
        hidden = {"quiet", *(parameter.name for parameter in own)}
        taken = [
            _parameter(target, argument.arg, str(argument.annotation and ast.unparse(argument.annotation)), default)
            for argument, default in zip(arguments, defaults, strict=True)
            if argument.arg in (names or {argument.arg} - hidden)
        ]

        @functools.wraps(command)
        def call(**values: Any) -> None:
            # Public functions take an empty tuple, their default, for no values.
            command(**{name: () if value == [] else value for name, value in values.items()})

        vars(call)["__signature__"] = inspect.Signature([*own, *taken])
        return call

    return decorate


def _parameter(target: str, name: str, annotation: str, default: ast.expr | None) -> inspect.Parameter:
    """Return a parameter of a command, in the type that the text of an annotation stands for."""
    types = {"Path": Path, "Source": Path, "int": int, "float": float, "bool": bool}
    kind: Any = next((types[word] for word in types if word in annotation), str)
    is_list, help_text = "Sequence" in annotation or annotation == "Settings", help_of(target, name)
    info: Any = typer.Argument(help=help_text)
    if default is not None:
        flags = _FLAGS.get(name, (f"--{name.replace('_', '-')}",))
        text = f"{help_text} Repeatable." if is_list else help_text
        info = typer.Option(*flags, help=text, show_default=False, **_LIMITS.get(name, {}))
    value = inspect.Parameter.empty if default is None else ast.literal_eval(default)
    kind = list[kind] if is_list else kind | None if value is None else kind
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=Annotated[kind, info])
