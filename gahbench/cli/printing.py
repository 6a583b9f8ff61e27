"""Lines that commands print."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer
from rich.console import Console

#: Names that are printed of several.
_SHOWN = 12


def say(text: str, style: str | None = None, *, err: bool = False) -> None:
    """Print a line as it is: labels have brackets, and paths are for copying, so it is neither marked up nor broken."""
    Console(stderr=err).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def say_several(what: str, names: Iterable[str], *, err: bool = False) -> None:
    """Print how many there are of something, and the first names; nothing if there are none."""
    listed = list(names)
    lines = [f"{len(listed)} {what}:"] if listed else []
    lines += [f"  {name}" for name in listed[:_SHOWN]]
    lines += [f"  and {len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else []
    for line in lines:
        say(line, "yellow", err=err)


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
