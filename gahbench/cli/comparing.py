"""Printing of boards of several folders, and of what differs between two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from gahbench._util.readable import level_name

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.runs.comparison import Comparison


def results_of(
    folders: Sequence[Path], entrants: Sequence[str], datasets: Sequence[str], metrics: Sequence[str]
) -> tuple[Results, dict[Path, int]]:
    """Return the results of one or several folders, of the entrants, datasets and metrics that match a pattern.

    With them, how many units are left in each folder; the results are then those so far.
    """
    from gahbench.board.combined import combined
    from gahbench.board.results import load_results
    from gahbench.board.selection import selected
    from gahbench.runs.collect import results_so_far
    from gahbench.store.short_names import short_names

    parts, left = {}, {}
    for name, folder in zip(short_names(folders), folders, strict=True):
        parts[name], left[folder] = results_so_far(folder) or (load_results(folder), 0)
    found = next(iter(parts.values())) if len(parts) == 1 else combined(parts)
    return selected(found, entrants, datasets, metrics), left


def print_comparison(found: Comparison, console: Console) -> None:
    """Print the differences of two runs: of PSNR, then of all that they come from."""
    from gahbench.report import cells
    from gahbench.report.tables import Grid, aligned

    one, other = found.names
    for dataset in dict.fromkeys(row.dataset for row in found.rows):
        rows = [row for row in found.rows if row.dataset == dataset]
        levels = list(dict.fromkeys(row.sigma for row in rows if row.sigma is not None))
        gaps = {(row.entrant, row.sigma): cells.with_half_width(row.difference, sign=True) for row in rows}
        body = [
            [row.entrant, cells.number(row.one), cells.number(row.other)]
            + [gaps[row.entrant, level] for level in (None, *levels)]
            for row in rows
            if row.sigma is None
        ]
        head = ["entrant", one, other, "difference", *(f"σ {level_name(sigma)}" for sigma in levels)]
        console.out(
            f"\n## {dataset}\n\nMean PSNR in dB; differences are {other} minus {one}, paired by images and noise,"
        )
        console.out("± half of their 95 % intervals.\n", highlight=False)
        console.out(aligned(Grid(dataset, head, body, 1)), highlight=False)
    for title, lines in (
        ("Entrants", found.only),
        ("Protocol", found.protocol),
        ("Code", found.code),
        ("Environment", found.environment),
    ):
        console.out(f"\n{title}: " + ("no difference" if not lines else ""), highlight=False)
        for line in lines:
            console.out(f"- {line}", highlight=False)


def shown_columns(text: str | None) -> list[str]:
    """Return the names of columns in a text with commas between them, but for those within brackets."""
    columns, depth, start = [], 0, 0
    for place, char in enumerate(text or ""):
        depth += (char == "[") - (char == "]")
        if char == "," and depth == 0:
            columns.append((text or "")[start:place].strip())
            start = place + 1
    columns.append((text or "")[start:].strip())
    return [column for column in columns if column]


def write_or_print(text: str, out: Path | None) -> None:
    """Write a text into a file, or print it."""
    from gahbench._util.files import write_whole

    if out is None:
        typer.echo(text, nl=False)
    else:
        write_whole(out, text.encode())
        typer.echo(f"wrote {out}", err=True)
