"""Print lines and tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

if TYPE_CHECKING:
    from gahbench.runs.reuse import Reused

#: Maximum number of names that are printed in a list.
_MAX_NAMES = 12


def say(text: str, style: str | None = None, *, err: bool = False) -> None:
    """Print a line without markup or wrapping, since labels contain brackets, and users copy paths."""
    Console(stderr=err).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def say_names(title: str, names: Iterable[str], *, err: bool = False) -> None:
    """Print a title with the number of names, and the first names; print nothing for an empty list."""
    listed = list(names)
    lines = [f"{len(listed)} {title}:"] if listed else []
    lines += [f"  {name}" for name in listed[:_MAX_NAMES]]
    lines += [f"  and {len(listed) - _MAX_NAMES} more"] if len(listed) > _MAX_NAMES else []
    for line in lines:
        say(line, "yellow", err=err)


def say_not_taken(outcome: Reused, *, err: bool) -> None:
    """Print which units of other folders were not taken, and why."""
    labels = [unit.label for unit in outcome.other_weights]
    say_names("not taken, since they measured weights that differ from those in this folder", labels, err=err)
    say_names("not taken, since damaged", map(str, outcome.damaged), err=err)


def write_or_print(text: str, out: Path | None) -> None:
    """Write text to a file, or print it if `out` is ``None``."""
    from gahbench._util.files import write_atomically

    if out is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(out, text.encode())
        typer.echo(f"wrote {out}", err=True)


def say_written(files: Iterable[Path]) -> None:
    """Print the names of files that were written to a folder."""
    written = list(files)
    say(f"wrote {', '.join(file.name for file in written)} to {written[0].parent}/")
