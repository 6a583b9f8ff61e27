"""Printing an inspection, and writing its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from gahbench import api
from gahbench.board.alignments import MEASURES, Measure
from gahbench.cli.previewing import parse_sigmas
from gahbench.cli.progress import Progress
from gahbench.evaluation.rates import input_psnr
from gahbench.explore.inspection import SIGMAS
from gahbench.report.cells import DASH, file_stems, number
from gahbench.report.eigenvectors import level_names

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.explore.inspection import Inspection, Level

#: Columns by the name of a score: heading and decimals.
_COLUMNS = {
    "psnr": ("denoised\n(dB)", 2),
    "spectrum.trace": ("trace", 1),
    "spectrum.above-half": ("λ > ½", 0),
    "spectrum.largest": ("λ max", 3),
    "spectrum.smallest": ("λ min", 3),
    "spectrum.asymmetry": ("asym-\nmetry", 3),
    "spectrum.homogeneity": ("homo-\ngeneity", 3),
    "self-consistency.ratio": ("self-con-\nsistency", 2),
}


def print_inspection(entrant: str, sigmas: Sequence[str], out: Path | None, console: Console, **arguments: Any) -> None:
    """Inspect a denoiser, print the results, and write the figures.

    Parameters
    ----------
    entrant, arguments
        As for :func:`gahbench.inspect`.
    sigmas
        As they were typed.
    out
        Folder of the figures; by default named after the entrant.

    Raises
    ------
    GahbenchError
        If an argument is not accepted, or a file cannot be written.
    """
    with Progress("inspecting") as shown:

        def progress(done: int, steps: int, doing: str) -> None:
            shown(f"{done} of {steps} measurements done, now {doing}", done / steps)

        inspection = api.inspect(entrant, sigmas=parse_sigmas(sigmas) or SIGMAS, **arguments, progress=progress)
    print_tables(inspection, console)
    label = inspection.entrant
    written = inspection.save(Path(f"inspect-{file_stems([label])[label]}") if out is None else out)
    names = ", ".join(file.name for file in written)
    console.print(f"wrote {names} to {written[0].parent}/", markup=False, highlight=False, soft_wrap=True)


def print_tables(inspection: Inspection, console: Console) -> None:
    """Print the facts at each noise level, and direction and alignment with each basis."""
    text = f"{inspection.entrant} on {inspection.image}"
    console.print(text, style="bold", markup=False, highlight=False, soft_wrap=True)
    names = level_names(level.sigma for level in inspection.levels)
    facts = _table("noisy\n(dB)", *(heading for heading, _ in _COLUMNS.values()))
    for level in inspection.levels:
        cells = [number(level.scores.get(name), digits) for name, (_, digits) in _COLUMNS.items()]
        facts.add_row(names[level.sigma], number(float(input_psnr(level.sigma)), 2), *cells)
    console.print(facts)
    for measure in MEASURES:
        parts = [parts for level in inspection.levels for parts in _headlines(level, measure).values()]
        if not parts:
            continue
        text = f"{measure} of this image's filter, of {len(parts[0])}, with each basis"
        console.print(text, style="italic", highlight=False)
        bases = list(dict.fromkeys(name for level in inspection.levels for name in _headlines(level, measure)))
        table = _table(*bases)
        for level in inspection.levels:
            found = _headlines(level, measure)
            cells = [number(float(found[name][inspection.place]), 3) if name in found else DASH for name in bases]
            table.add_row(names[level.sigma], *cells)
        console.print(table)
    for note in inspection.notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _headlines(level: Level, measure: Measure) -> dict[str, Tensor]:
    """Return the values of all images by basis, of those bases that have any."""
    return {name: parts[""] for name, found in level.compared.items() if "" in (parts := found.get(measure, {}))}


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("σ", *names):
        # Labels of bases have brackets, which are not markup.
        table.add_column(name.replace("[", r"\["), justify="right", overflow="fold")
    return table
