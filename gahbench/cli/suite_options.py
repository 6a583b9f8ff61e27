"""The options of commands that are about a suite: its plugins, and changes to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gahbench.planning.suite_changes import SuiteChanges


def shipped(incomplete: str) -> list[str]:
    """Complete the name of a suite that comes with gahbench."""
    from gahbench.planning.suite_files import suite_files

    return [name for name in suite_files() if name.startswith(incomplete)]


Suite = Annotated[
    str,
    typer.Argument(help="Path of a suite, or the name of one that gahbench ships.", autocompletion=shipped),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugins-dir", "-p", help="A plugin file, a folder of them, or a YAML file of claims. Repeatable."),
]
Entrant = Annotated[
    list[str] | None,
    typer.Option("--entrant", "-e", help="A further entrant: name[key=value,...]. May be repeated."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A field of the suite set otherwise: training.steps=100. May be repeated."),
]
Seed = Annotated[
    list[int] | None,
    typer.Option("--seed", min=0, help="Seeds of the trainings, in place of the suite's. May be repeated."),
]
Dataset = Annotated[
    list[str] | None,
    typer.Option("--dataset", "-d", help="Only datasets of this label, name or pattern. May be repeated."),
]
Metric = Annotated[
    list[str] | None,
    typer.Option("--metric", "-m", help="Only metrics of this label, name or pattern, and PSNR. May be repeated."),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", help="Only the suite's entrants of this label, name or pattern, and the baseline. May be repeated."
    ),
]


def changes(
    entrant: Sequence[str] | None,
    settings: Sequence[str] | None,
    seed: Sequence[int] | None = None,
    dataset: Sequence[str] | None = None,
    metric: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
) -> SuiteChanges:
    """Return the changes to a suite that some options ask for."""
    from gahbench.planning.suite_changes import SuiteChanges

    return SuiteChanges.of(entrant or (), settings or (), dataset or (), metric or (), only or (), seed or ())
