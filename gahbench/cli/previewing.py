"""Printing the card of a dataset, and writing sheets of its images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gahbench import api
from gahbench._util.errors import ParameterError
from gahbench._util.fractions import as_number
from gahbench._util.readable import level_name
from gahbench.contracts.datasets import Optimum
from gahbench.evaluation.rates import input_psnr
from gahbench.explore.preview import SIGMAS, Preview
from gahbench.registry.spec import format_value
from gahbench.report.cells import number
from gahbench.report.contact_sheet import decibels
from gahbench.report.encoding import check_suffix
from gahbench.report.figures import file_stems

#: The meaning of each kind of optimum, and the name of its denoiser in the table of noise levels.
_MEANING = {
    "exact": "exact: the posterior mean, which no denoiser beats, can be computed",
    "bracket": "bracket: no denoiser beats a genie that sees part of the parameters of an image",
    "rate": "rate: only how fast the error falls with the noise",
    "none": "none: the best denoiser is unknown",
}
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
    for name, fact in _facts(preview):
        table.add_row(name, Text(fact))
    console.print(table)
    console.print("PSNR (dB) over the previewed images", style="italic", highlight=False)
    console.print(_levels(preview))
    for level in preview.levels:
        if level.trouble:
            text = f"σ = {level_name(level.sigma)}: the optimum cannot be computed: {level.trouble}"
            console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _facts(preview: Preview) -> Iterator[tuple[str, str]]:
    parameters = preview.configured.parameters.items()
    if parameters:
        yield "parameters", ", ".join(f"{name}={format_value(value)}" for name, value in parameters)
    yield "shape", " × ".join(map(str, preview.shape)) + " (channels, height, width)"
    yield "origin", preview.card.origin
    yield "licence", preview.card.licence
    yield "images", _images(preview)
    yield "fingerprint", preview.fingerprint or "none: no files are read"
    pixels = preview.pixels
    sample = "1 image" if pixels.count == 1 else f"{pixels.count} images"
    yield (
        "pixels",
        f"mean {pixels.mean:.3f}, standard deviation {pixels.std:.3f}, {_share(pixels.outside)} outside [0, 1], "
        f"over {sample} of {preview.split}",
    )
    yield "optimum", _optimum(preview.optimum)
    yield "true basis", _basis(preview)


def _images(preview: Preview) -> str:
    held = preview.available
    shared = "; splits share images" if preview.splits_overlap else ""
    if all(count is None for count in held.values()):
        return f"endless in every split{shared}"
    return ", ".join(f"{split} {'endless' if count is None else count}" for split, count in held.items()) + shared


def _share(share: float) -> str:
    """Write a share in percent; one that is not 0 never looks like it."""
    return "none" if share == 0 else "less than 0.001 %" if share < 1e-5 else f"{100 * share:.3g} %"


def _optimum(optimum: Optimum) -> str:
    if optimum.slope is None:
        return _MEANING[optimum.kind]
    return f"{_MEANING[optimum.kind]}; PSNR rises by {optimum.slope:.2f} dB per dB of input PSNR as σ tends to 0"


def _basis(preview: Preview) -> str:
    if preview.vectors is not None:
        kind = "spanning the tangent space" if preview.vectors.energies is None else "with the variance of each"
        return f"known: {preview.vectors.count} {'vector' if preview.vectors.count == 1 else 'vectors'} {kind}"
    return "not known" if preview.basis_asked else "not computed, since it may take long; --true-basis computes it"


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
