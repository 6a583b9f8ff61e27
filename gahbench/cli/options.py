"""Arguments and options of several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gahbench.contracts.engines import check_device


def _shipped(incomplete: str) -> list[str]:
    """Complete the name of a suite that comes with gahbench."""
    from gahbench.planning.suite_files import suite_files

    return [name for name in suite_files() if name.startswith(incomplete)]


Suite = Annotated[
    str, typer.Argument(help="Path of a suite, or the name of one that gahbench ships.", autocompletion=_shipped)
]
Folder = Annotated[Path, typer.Argument(help="A results folder.")]
Planned = Annotated[Path, typer.Argument(help="A results folder with a plan: by 'gahbench plan --out', or of a run.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Results folder. [default: runs/ and the suite's name]")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugins-dir", "-p", help="A plugin file, a folder of them, or a YAML file of claims. Repeatable."),
]
Entrant = Annotated[
    list[str] | None, typer.Option("--entrant", "-e", help="A further entrant: name[key=value,...]. May be repeated.")
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
OnlyEntrant = Annotated[
    list[str] | None,
    typer.Option("--entrant", "-e", help="Only these entrants: label, name or pattern. May be repeated."),
]
OnlyDataset = Annotated[
    list[str] | None,
    typer.Option("--dataset", "-d", help="Only these datasets: label, name or pattern. May be repeated."),
]
Device = Annotated[
    str,
    typer.Option(callback=check_device, help="Where networks compute: cpu, cuda, or auto for GPUs if there are any."),
]
Reuse = Annotated[
    list[Path] | None,
    typer.Option(help="Another results folder, whose finished units of equal keys are taken first. Repeatable."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, help="Threads of each worker; rounding depends on them. [default: as recorded, or by the fits]"
    ),
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Trained weights, the same as the parameter checkpoint of an architecture.")
]
TableOut = Annotated[Path | None, typer.Option("--out", "-o", help="File for that table.")]
