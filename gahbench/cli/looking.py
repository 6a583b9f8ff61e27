"""The commands ``preview``, ``inspect`` and ``sample``, which need no results folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gahbench.cli import options
from gahbench.cli.printing import print_table, say, say_written
from gahbench.cli.progress import Progress
from gahbench.registry.spec import parse_spec

if TYPE_CHECKING:
    from gahbench.explore.inspection import Inspection

#: Heading and number of decimals of each column of an inspection, by the name of the score.
_SCORE_COLUMNS = {
    "psnr": ("denoised\n(dB)", 1),
    "spectrum.trace": ("trace", 1),
    "spectrum.above-half": ("λ > ½", 0),
    "spectrum.largest": ("λ max", 3),
    "spectrum.smallest": ("λ min", 3),
    "spectrum.asymmetry": ("asym-\nmetry", 3),
    "spectrum.homogeneity": ("homo-\ngeneity", 3),
    "self-consistency.ratio": ("self-con-\nsistency", 2),
}


_Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of gahbench.sampling.Sampling: count=64, seed=1, sampler=flow. Repeatable."),
]
_Sheet = Annotated[Path, typer.Option("--out", "-o", help="File of the contact sheet: .png, .svg or .pdf.")]
_Figures = Annotated[Path, typer.Option("--out", "-o", help="Folder of figures, or a .pdf file with a page for each.")]
_Samples = Annotated[Path, typer.Option("--out", "-o", help="Folder of samples.png and samples.npz.")]


@options.parameters_of("gahbench.explore.preview:preview")
def preview(out: _Sheet = Path("preview-{dataset}.png"), **arguments: Any) -> None:
    """Print the properties of a dataset, and write a contact sheet of its images under noise."""
    import gahbench
    from gahbench.report.drawing import check_suffix

    # Check the argument before the slow loading of images.
    check_suffix(out)
    dataset_preview = gahbench.preview(**arguments)
    say(f"dataset {dataset_preview.configured.label}  ({dataset_preview.configured.plugin.origin})", "bold")
    print_table(dataset_preview.card.items())
    file = _fill(out, "{dataset}", dataset_preview.configured.label)
    dataset_preview.save(file)
    say(f"wrote {file}")


def _fill(path: Path, placeholder: str, label: str) -> Path:
    """Put the label of a dataset or entrant into the path of an output."""
    from gahbench.report.cells import file_stems

    return Path(str(path).replace(placeholder, file_stems([label])[label]))


@options.parameters_of("gahbench.explore.inspection:inspect")
def inspect(out: _Figures = Path("inspect-{entrant}"), **arguments: Any) -> None:
    """Draw the eigenvectors of a denoiser's Jacobian at an image, and compare them with bases."""
    import gahbench
    from gahbench.explore.inspection import check_out

    check_out(out)
    with Progress("inspecting") as show_progress:

        def progress(done: int, steps: int, doing: str) -> None:
            show_progress(f"{done} of {steps} measurements done, now {doing}", done / steps)

        inspection = gahbench.inspect(progress=progress, **arguments)
    _print_inspection(inspection)
    say_written(inspection.save(_fill(out, "{entrant}", inspection.entrant)))


def _print_inspection(inspection: Inspection) -> None:
    """Print the numbers that the figures show: scores and eigenvalues by noise level, and agreement with bases."""
    from gahbench.report.bases import level_names
    from gahbench.report.cells import format_interval, number

    say(f"{inspection.entrant} on {inspection.image}", "bold")
    names, rows, agreements = level_names(level.sigma for level in inspection.levels), [], []
    for level in inspection.levels:
        error = float((level.noisy.double() - inspection.clean.double()).square().mean())
        scores = [number(level.scores.get(name), digits) for name, (_, digits) in _SCORE_COLUMNS.items()]
        eigenvalues = [number(float(level.eigenvalues[rank - 1]), 3) for rank in inspection.ranks]
        rows.append([names[level.sigma], number(-10 * math.log10(error), 1), *scores, *eigenvalues])
        agreements += [
            [names[level.sigma], basis, number(row.single, 3), *map(format_interval, (row.direction, row.alignment))]
            for basis, row in level.agreements.items()
        ]
    headings = [heading for heading, _ in _SCORE_COLUMNS.values()] + [f"λ_{rank}" for rank in inspection.ranks]
    print_table(rows, ("σ", "noisy\n(dB)", *headings), texts=1)
    if agreements:
        print_table(agreements, ("σ", "basis", "direction\nhere", "direction,\nmean", "alignment,\nmean"))
    for note in inspection.notes:
        say(note, "yellow")


@options.parameters_of("gahbench.explore.sample:sample")
def sample(settings: _Settings = None, out: _Samples = Path("sample-{entrant}"), **arguments: Any) -> None:
    """Sample images from a denoiser, and write a sheet of them and a file of arrays.

    Exit status: 0 samples were written, 1 all samples diverged, 2 bad input.
    """
    import gahbench

    arguments |= parse_spec(f"sampling[{','.join(settings or ())}]").keywords
    with Progress("sampling") as show_progress:
        samples = gahbench.sample(progress=lambda share: show_progress(f"{share:.0%} done", share), **arguments)
    files = samples.save(_fill(out, "{entrant}", samples.source.partition("\n")[0]))
    say(f"{' '.join(samples.source.split())}: {samples}; seed {samples.settings.seed}")
    if set(samples.status) != {"converged"}:
        drawn = samples.settings
        limit = f"the noise did not fall to {drawn.sigma_end:g} in {drawn.step_limit()} steps"
        residual = f"the residual was not finite, or over {drawn.bound:g} per pixel (root mean square)"
        say(f"out of steps: {limit}; diverged: {residual}", "yellow")
    say_written(files)
    if all(status == "diverged" for status in samples.status):
        raise typer.Exit(1)
