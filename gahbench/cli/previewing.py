"""Printing the card of a dataset, and writing sheets of its images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gahbench import api
from gahbench._util.errors import ParameterError
from gahbench._util.fractions import as_number
from gahbench._util.readable import level_name
from gahbench.evaluation.rates import input_psnr
from gahbench.explore.card_facts import card_facts
from gahbench.explore.preview import SIGMAS, Preview
from gahbench.report.cells import file_stems, number
from gahbench.report.contact_sheet import decibels
from gahbench.report.drawing import check_suffix

#: The name of an optimum's denoiser in the table of noise levels, and of what it reaches.
_COLUMNS = {"exact": ("optimal", "under this noise"), "bracket": ("at most", "genie under this noise")}


def print_preview(
    name: str,
    sigmas: Sequence[str],
    count: int | None,
    split: str,
    start: int,
    out: Path | None,
    true_basis: bool,
    *,
    sources: tuple[Path, ...],
    console: Console,
) -> None:
    """Print the card of a dataset and write its contact sheet, and on request a sheet of its true basis.

    Raises
    ------
    GahbenchError
        If an argument is not accepted, or the dataset fails.
    """
    levels = parse_sigmas(sigmas) or SIGMAS
    if out is not None:
        # Loading takes long, so arguments are checked first.
        check_suffix(out)
    preview = api.preview(name, levels, count=count, split=split, start=start, true_basis=true_basis, plugins=sources)
    print_card(preview, console)
    label = preview.configured.label
    file = Path(f"preview-{file_stems([label])[label]}.png") if out is None else out
    preview.save(file)
    written = [file]
    if true_basis:
        written.append(file.with_stem(f"{file.stem}-true-basis"))
        preview.save_basis(written[-1])
    for one in written:
        console.print(f"wrote {one}", markup=False, highlight=False, soft_wrap=True)


def parse_sigmas(texts: Sequence[str]) -> tuple[float, ...]:
    """Read noise levels, each text one or several with commas between them; 25/255 is a number too.

    Raises
    ------
    ParameterError
        If one is not a number.
    """
    parts = [part.strip() for text in texts for part in text.split(",")]
    try:
        return tuple(float(as_number(part)) for part in parts)
    except ValueError as error:
        raise ParameterError(
            f"--sigma {' '.join(texts)}: accepted: numbers greater than 0, such as 0.05,0.15 or 25/255"
        ) from error


def print_card(preview: Preview, console: Console) -> None:
    """Print the properties of a dataset, and the PSNR that can be reached on the previewed images."""
    plugin = preview.configured.plugin
    heading = f"{plugin.kind} {preview.configured.label}  ({plugin.origin})"
    console.print(heading, style="bold", markup=False, highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in card_facts(preview):
        table.add_row(name, Text(fact))
    console.print(table)
    console.print("PSNR (dB) over the previewed images", style="italic", highlight=False)
    console.print(_levels(preview))
    for level in preview.levels:
        if level.trouble:
            text = f"σ = {level_name(level.sigma)}: the optimum cannot be computed: {level.trouble}"
            console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _levels(preview: Preview) -> Table:
    """Return the table of PSNR in dB at every noise level."""
    table = Table(box=None, pad_edge=False)
    names = _COLUMNS.get(preview.optimum.kind, ())
    sampled = any(level.best is not None and level.best.ess_fraction is not None for level in preview.levels)
    for name in ("σ", "noisy", *names, *(["effective samples"] if sampled else [])):
        table.add_column(name, justify="right")
    for level in preview.levels:
        row = [level_name(level.sigma), number(float(input_psnr(level.sigma)), 1)]
        best = level.best
        if names:
            errors = (math.nan, math.nan) if best is None else (best.expected, best.measured)
            row += ["–" if math.isnan(error) else decibels(error).removesuffix(" dB") for error in errors]
        if sampled:
            row.append("–" if best is None or best.ess_fraction is None else f"{100 * best.ess_fraction:.0f} %")
        table.add_row(*row)
    return table
