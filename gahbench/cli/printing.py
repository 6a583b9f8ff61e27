"""Print lines and tables."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text


def say(text: str, style: str | None = None, *, err: bool = False) -> None:
    """Print a line without markup or wrapping, since labels contain brackets, and users copy paths."""
    Console(stderr=err).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_table(rows: Iterable[Sequence[str]], headings: Sequence[str] = (), texts: int = 2) -> None:
    """Print a table of texts in the first columns, and numbers in the others; no cell is cut or read as markup."""
    body = list(rows)
    columns = [
        Column(Text(heading), justify="left" if index < texts else "right", overflow="fold")
        for index, heading in enumerate(headings or [""] * len(body[0]))
    ]
    table = Table(*columns, box=None, pad_edge=False, show_header=bool(headings))
    for row in body:
        table.add_row(*map(Text, row))
    Console().print(table)


def say_next(folder: Path) -> None:
    """Print the next two commands on a results folder."""
    name = shlex.quote(str(folder))
    say(f"next: gahbench leaderboard {name} --full\nnext: gahbench report {name}", err=True)


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
