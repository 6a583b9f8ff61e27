"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gahbench.contracts.engines import check_device


def _complete_suite(incomplete: str) -> list[str]:
    """Complete the name of a built-in suite."""
    from gahbench.planning.suite_files import suite_files

    return [name for name in suite_files() if name.startswith(incomplete)]


Suite = Annotated[
    str, typer.Argument(help="Path of a suite, or the name of a built-in suite.", autocompletion=_complete_suite)
]
Folder = Annotated[Path, typer.Argument(help="A results folder.")]
Planned = Annotated[Path, typer.Argument(help="A results folder, as a run leaves it.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Results folder. [default: runs/SUITE]")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugins-dir", "-p", help="A plugin file, a folder of plugin files, or a YAML file of claims. Repeatable."
    ),
]
Entrant = Annotated[
    list[str] | None, typer.Option("--entrant", "-e", help="Add an entrant: name[key=value,...]. Repeatable.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a field of the suite: training.steps=100. Repeatable."),
]
Seed = Annotated[
    list[int] | None,
    typer.Option("--seed", min=0, help="Training seed, in place of the suite's seeds. Repeatable."),
]
Dataset = Annotated[
    list[str] | None,
    typer.Option("--dataset", "-d", help="Use only datasets of this label, name or pattern. Repeatable."),
]
Metric = Annotated[
    list[str] | None,
    typer.Option("--metric", "-m", help="Use only PSNR and metrics of this label, name or pattern. Repeatable."),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", help="Use only the baseline and the suite's entrants of this label, name or pattern. Repeatable."
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
Device = Annotated[
    str,
    typer.Option(callback=check_device, help="Device of networks: cpu, cuda, or auto (cuda if available)."),
]
Reuse = Annotated[
    list[Path] | None,
    typer.Option(help="Take finished units with equal keys from this results folder or archive. Repeatable."),
]
Track = Annotated[list[str] | None, typer.Option(help="Track the run with tensorboard or wandb[...]. Repeatable.")]
Shard = Annotated[
    str,
    typer.Option(
        help="Run only a part of the rows, I/N: 2/8 on the second of eight machines that may share the folder."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, help="Threads of each row; they affect rounding. [default: as recorded, or by the number of fits]"
    ),
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="File of trained weights; same as the architecture's parameter checkpoint.")
]
TableOut = Annotated[Path | None, typer.Option("--out", "-o", help="File to write the table to. [default: print it]")]
#: Options of commands that repeat a random sample of units.
Units = Annotated[int, typer.Option(min=1, help="Number of scores to compute again.")]
Fits = Annotated[
    int | None,
    typer.Option(min=0, help="Number of fits to train again. [default: 1 fit of less than ten minutes]"),
]
SampleSeed = Annotated[int | None, typer.Option("--seed", help="Seed of the random choice of units. [default: random]")]
