"""Lines that commands print."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

if TYPE_CHECKING:
    from gahbench.runs.reuse import Merged, Reused

#: Names that are printed of several.
_SHOWN = 12


def say(text: str, style: str | None = None, *, err: bool = False) -> None:
    """Print a line as it is: labels have brackets, and paths are for copying, so it is neither marked up nor broken."""
    Console(stderr=err).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def say_several(what: str, names: Iterable[str], *, err: bool = False) -> None:
    """Print a number of things and the first of their names; print nothing for an empty list."""
    listed = list(names)
    lines = [f"{len(listed)} {what}:"] if listed else []
    lines += [f"  {name}" for name in listed[:_SHOWN]]
    lines += [f"  and {len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else []
    for line in lines:
        say(line, "yellow", err=err)


def say_not_taken(found: Merged | Reused, *, err: bool) -> None:
    """Print which units were not taken from other folders."""
    labels = [unit.label for unit in found.other_weights]
    say_several("not taken, since the weights here are not those that were measured", labels, err=err)
    say_several("not taken, since damaged", map(str, found.damaged), err=err)


def write_or_print(text: str, out: Path | None) -> None:
    """Write a text into a file, or print it."""
    from gahbench._util.files import write_whole

    if out is None:
        typer.echo(text, nl=False)
    else:
        write_whole(out, text.encode())
        typer.echo(f"wrote {out}", err=True)


def say_written(files: Iterable[Path]) -> None:
    """Print the names of files that were written into one folder."""
    written = list(files)
    say(f"wrote {', '.join(file.name for file in written)} to {written[0].parent}/")
