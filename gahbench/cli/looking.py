"""The commands ``preview``, ``inspect`` and ``sample``, which need no results folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gahbench._util.core_yaml import as_number
from gahbench._util.errors import ParameterError
from gahbench._util.readable import level_name, pluralize
from gahbench.cli import options
from gahbench.cli.printing import say, say_written
from gahbench.cli.progress import Progress
from gahbench.contracts.datasets import Split

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.board.alignments import Measure
    from gahbench.explore.inspection import Inspection, Level
    from gahbench.explore.preview import Preview
    from gahbench.explore.sample import EntrantSamples

DASH = "–"
#: Headings of the columns of a preview's optimum, by its kind: the expected and the measured PSNR.
_OPTIMUM_COLUMNS = {"exact": ("optimal", "under this noise"), "bracket": ("at most", "genie under this noise")}
#: Heading and number of decimals of each column of an inspection, by the name of the score.
_SCORE_COLUMNS = {
    "psnr": ("denoised\n(dB)", 2),
    "spectrum.trace": ("trace", 1),
    "spectrum.above-half": ("λ > ½", 0),
    "spectrum.largest": ("λ max", 3),
    "spectrum.smallest": ("λ min", 3),
    "spectrum.asymmetry": ("asym-\nmetry", 3),
    "spectrum.homogeneity": ("homo-\ngeneity", 3),
    "self-consistency.ratio": ("self-con-\nsistency", 2),
}


def preview(
    dataset: Annotated[str, typer.Argument(help="A dataset, optionally with parameters: name[key=value,...].")],
    sigma: Annotated[
        list[str] | None, typer.Option("--sigma", "-s", help="Noise levels. Repeatable. [default: 0.05,0.15,0.4]")
    ] = None,
    count: Annotated[int | None, typer.Option(help="Number of images. [default: 4, or all if fewer]")] = None,
    split: Annotated[Split, typer.Option(help="Split of the images.")] = "test",
    start: Annotated[int, typer.Option(help="Index of the first image.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="File of the contact sheet: .png, .svg or .pdf. [default: preview-DATASET.png]"
        ),
    ] = None,
    true_basis: Annotated[
        bool, typer.Option("--true-basis", help="Also write a sheet of the first image's true basis, if known.")
    ] = False,
    plugins_dir: options.Plugins = None,
) -> None:
    """Print the properties of a dataset, and write a contact sheet of its images under noise."""
    import gahbench
    from gahbench.explore.preview import SIGMAS
    from gahbench.report.cells import file_stems
    from gahbench.report.drawing import check_suffix

    levels = parse_sigmas(sigma or ()) or SIGMAS
    if out is not None:
        # Check the argument before the slow loading of images.
        check_suffix(out)
    dataset_preview = gahbench.preview(
        dataset, levels, count=count, split=split, start=start, true_basis=true_basis, plugins=plugins_dir or ()
    )
    print_card(dataset_preview, Console())
    label = dataset_preview.configured.label
    file = Path(f"preview-{file_stems([label])[label]}.png") if out is None else out
    dataset_preview.save(file)
    say(f"wrote {file}")
    if true_basis:
        basis_file = file.with_stem(f"{file.stem}-true-basis")
        dataset_preview.save_basis(basis_file)
        say(f"wrote {basis_file}")


def parse_sigmas(texts: Sequence[str]) -> tuple[float, ...]:
    """Parse strings of noise levels separated by commas; fractions such as 25/255 are accepted."""
    parts = [part.strip() for text in texts for part in text.split(",")]
    try:
        return tuple(float(as_number(part)) for part in parts)
    except ValueError as error:
        raise ParameterError(
            f"--sigma {' '.join(texts)}; accepted: numbers greater than 0, such as 0.05,0.15 or 25/255"
        ) from error


def print_card(preview: Preview, console: Console) -> None:
    """Print the properties of a dataset, and the optimal PSNR on the previewed images."""
    from gahbench.explore.preview import card_facts

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
    console.print(_psnr_table(preview))
    for level in preview.levels:
        if level.obstacle:
            text = f"σ = {level_name(level.sigma)}: the optimum cannot be computed: {level.obstacle}"
            console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _psnr_table(preview: Preview) -> Table:
    """Build the table of noisy and optimal PSNR in dB at each noise level."""
    from gahbench.evaluation.rates import input_psnr
    from gahbench.report.cells import number
    from gahbench.report.contact_sheet import format_psnr

    names = _OPTIMUM_COLUMNS.get(preview.optimum.kind, ())
    is_sampled = any(level.best is not None and level.best.ess_fraction is not None for level in preview.levels)
    table = _build_table("noisy", *names, *(["effective samples"] if is_sampled else []))
    for level in preview.levels:
        row = [level_name(level.sigma), number(float(input_psnr(level.sigma)), 1)]
        best = level.best
        if names:
            errors = (math.nan, math.nan) if best is None else (best.expected, best.measured)
            row += [DASH if math.isnan(error) else format_psnr(error).removesuffix(" dB") for error in errors]
        if is_sampled:
            row.append(DASH if best is None or best.ess_fraction is None else f"{100 * best.ess_fraction:.0f} %")
        table.add_row(*row)
    return table


def _build_table(*headings: str) -> Table:
    """Build an empty table whose first column is the noise level."""
    table = Table(box=None, pad_edge=False)
    for heading in ("σ", *headings):
        # Escape the brackets in labels of bases, which rich would read as markup.
        table.add_column(heading.replace("[", r"\["), justify="right", overflow="fold")
    return table


_Entrant = Annotated[
    str, typer.Argument(help="A reference, or an architecture with weights: name[key=value,checkpoint=FILE].")
]
_ImageDataset = Annotated[
    str, typer.Option("--dataset", "-d", help="Dataset of the test image, and of the training images of references.")
]
_Image = Annotated[
    Path | None,
    typer.Option(help="File of the image at which to inspect (an image, .npy or .npz), instead of a dataset's image."),
]
_Size = Annotated[
    int | None,
    typer.Option(help="Crop the image file to a central square of this side. [default: 40, or its side if smaller]"),
]
_Colour = Annotated[bool, typer.Option("--colour", help="Keep the colours of the image file, for a colour network.")]
_Sigma = Annotated[
    list[str] | None,
    typer.Option("--sigma", "-s", help="Noise levels, such as 0.1 or 25/255. Repeatable. [default: 0.03,0.1,0.3]"),
]
_Basis = Annotated[
    list[str] | None,
    typer.Option(
        "--basis",
        "-b",
        help="A basis to compare with. Repeatable. [default: graph-laplacian, bandlet, sym4, dct, true-basis]",
    ),
]
_Others = Annotated[
    int,
    typer.Option(help="Number of other images that direction and alignment need: at least 23, or 0 to skip both."),
]
_Ranks = Annotated[
    str | None,
    typer.Option(
        "--rank",
        "-k",
        help="Ranks of eigenvectors to draw, such as 5,41,101, whose eigenvalues are printed. [default: 1,2,3,5,9,...]",
    ),
]
_Device = Annotated[str, typer.Option(help="Device of networks: cpu, cuda, or auto (cuda if available).")]
_Figures = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder to write figures to. [default: inspect-ENTRANT]")
]


def inspect(
    entrant: _Entrant,
    checkpoint: options.Checkpoint = None,
    dataset: _ImageDataset = "faces[size=24]",
    index: Annotated[int, typer.Option(help="Index of the test image.")] = 0,
    image: _Image = None,
    size: _Size = None,
    colour: _Colour = False,
    sigma: _Sigma = None,
    basis: _Basis = None,
    others: _Others = 27,
    rank: _Ranks = None,
    device: _Device = "auto",
    out: _Figures = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """Draw the eigenvectors of a denoiser's Jacobian at an image, and compare them with bases."""
    import gahbench
    from gahbench.explore.inspection import SIGMAS
    from gahbench.report.cells import file_stems

    levels = parse_sigmas(sigma or ()) or SIGMAS
    with Progress("inspecting") as show_progress:
        inspection = gahbench.inspect(
            entrant,
            dataset=dataset,
            index=index,
            image=image,
            size=size,
            colour=colour,
            sigmas=levels,
            bases=basis or (),
            checkpoint=checkpoint,
            others=others,
            ranks=_parse_ranks(rank),
            device=device,
            plugins=plugins_dir or (),
            progress=lambda done, steps, doing: show_progress(
                f"{done} of {steps} measurements done, now {doing}", done / steps
            ),
        )
    _print_inspection(inspection, Console())
    label = inspection.entrant
    say_written(inspection.save(Path(f"inspect-{file_stems([label])[label]}") if out is None else out))


def _print_inspection(inspection: Inspection, console: Console) -> None:
    """Print the scores at each noise level, and direction and alignment with each basis."""
    from gahbench.board.alignments import MEASURES
    from gahbench.evaluation.rates import input_psnr
    from gahbench.report.bases import level_names
    from gahbench.report.cells import number

    say(f"{inspection.entrant} on {inspection.image}", "bold")
    names = level_names(level.sigma for level in inspection.levels)
    score_table = _build_table("noisy\n(dB)", *(heading for heading, _ in _SCORE_COLUMNS.values()))
    for level in inspection.levels:
        cells = [number(level.scores.get(name), digits) for name, (_, digits) in _SCORE_COLUMNS.items()]
        score_table.add_row(names[level.sigma], number(float(input_psnr(level.sigma)), 2), *cells)
    console.print(score_table)
    if inspection.ranks:
        table = _build_table(*(f"λ_{rank}" for rank in inspection.ranks))
        for level in inspection.levels:
            table.add_row(names[level.sigma], *(number(float(level.eigenvalues[k - 1]), 3) for k in inspection.ranks))
        console.print(table)
    for measure in MEASURES:
        all_values = [values for level in inspection.levels for values in _values_by_basis(level, measure).values()]
        if not all_values:
            continue
        text = f"{measure} of this image's filter with each basis, computed with {len(all_values[0])} images"
        console.print(text, style="italic", highlight=False)
        compared = [(name, measures) for level in inspection.levels for name, measures in level.compared.items()]
        bases = list(dict.fromkeys(name for name, measures in compared if measure in measures))
        table = _build_table(*bases)
        for level in inspection.levels:
            values_by_basis = _values_by_basis(level, measure)
            cells = [
                number(float(values_by_basis[name][inspection.compared_index]), 3) if name in values_by_basis else DASH
                for name in bases
            ]
            table.add_row(names[level.sigma], *cells)
        console.print(table)
    for note in inspection.notes:
        say(note, "yellow")


def _parse_ranks(text: str | None) -> tuple[int, ...]:
    """Parse ranks of eigenvectors, separated by commas."""
    try:
        return tuple(int(part) for part in (text or "").split(",") if part.strip())
    except ValueError as error:
        raise ParameterError(f"--rank {text}; accepted: whole numbers separated by commas, such as 5,41") from error


def _values_by_basis(level: Level, measure: Measure) -> dict[str, Tensor]:
    """Return the measure's values over all images, by basis; bases without values are absent."""
    return {name: parts[""] for name, measures in level.compared.items() if "" in (parts := measures.get(measure, {}))}


_Sampled = Annotated[
    str,
    typer.Argument(
        help="A reference that does not see the clean image, or an architecture with weights: name[checkpoint=FILE]."
    ),
]
_LearnedDataset = Annotated[
    str,
    typer.Option("--dataset", "-d", help="Dataset that references learn from; samples have the size of its images."),
]
_Sampler = Annotated[str, typer.Option(help="stochastic, or flow (the deterministic probability flow).")]
_SigmaStart = Annotated[
    float | None, typer.Option(help="Noise level at which sampling starts. [default: 1.0]", show_default=False)
]
_SigmaEnd = Annotated[
    float | None, typer.Option(help="Noise level at which sampling ends. [default: 0.05]", show_default=False)
]
_MaxSteps = Annotated[
    int | None,
    typer.Option(help="Stochastic: maximum number of steps. [default: 10 times the steps of an ideal denoiser]"),
]
_Levels = Annotated[
    str, typer.Option(help="Flow: number of noise levels, or decreasing levels such as 1,0.5,0.2,0.05.")
]
_Batch = Annotated[int | None, typer.Option(help="Number of images denoised at once. [default: by memory]")]
_Samples = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for samples.png and samples.npz. [default: sample-ENTRANT]")
]


def sample(
    entrant: _Sampled,
    checkpoint: options.Checkpoint = None,
    dataset: _LearnedDataset = "faces[size=24]",
    count: Annotated[int, typer.Option("--count", "-n", help="Number of samples.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of the noise, independent of denoiser and count.")] = 0,
    sampler: _Sampler = "stochastic",
    mean: Annotated[float, typer.Option(help="Mean grey level of the initial noise.")] = 0.5,
    sigma_start: _SigmaStart = None,
    sigma_end: _SigmaEnd = None,
    final_step: Annotated[bool, typer.Option(help="Denoise once at the end.")] = True,
    step: Annotated[
        float, typer.Option(help="Stochastic: fraction of the residual that the first step removes.")
    ] = 0.01,
    beta: Annotated[float, typer.Option(help="Stochastic: 1 adds no noise, smaller values add more.")] = 0.1,
    growth: Annotated[str, typer.Option(help="Stochastic: growing or constant steps.")] = "growing",
    max_steps: _MaxSteps = None,
    levels: _Levels = "50",
    solver: Annotated[str, typer.Option(help="Flow: heun or euler.")] = "heun",
    batch: _Batch = None,
    device: _Device = "auto",
    out: _Samples = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """Sample images from a denoiser, and write a sheet of them and a file of arrays.

    Exit status: 0 samples were written, 1 all samples diverged, 2 bad input.
    """
    import gahbench
    from gahbench.report.cells import file_stems

    settings = {
        "count": count, "seed": seed, "sampler": sampler, "mean": mean, "sigma_start": sigma_start,
        "sigma_end": sigma_end, "final_step": final_step, "step": step, "beta": beta, "growth": growth,
        "max_steps": max_steps, "levels": parse_levels(levels), "solver": solver,
    }  # fmt: skip
    with Progress("sampling") as show_progress:
        samples = gahbench.sample(
            entrant,
            dataset=dataset,
            checkpoint=checkpoint,
            batch=batch,
            device=device,
            progress=lambda share, finished: show_progress(
                f"{share:.0%} done, {pluralize(finished, 'sample')} finished", share
            ),
            plugins=plugins_dir or (),
            **{name: value for name, value in settings.items() if value is not None},
        )
    label = samples.source.partition("\n")[0]
    files = samples.save(Path(f"sample-{file_stems([label])[label]}") if out is None else out)
    _print_samples(samples)
    say_written(files)
    if all(status == "diverged" for status in samples.status):
        raise typer.Exit(1)


def parse_levels(text: str) -> int | list[float]:
    """Parse a number of noise levels, or levels separated by commas."""
    parts = [part.strip() for part in text.split(",")]
    try:
        return int(parts[0]) if len(parts) == 1 else [float(part) for part in parts]
    except ValueError as error:
        raise ParameterError(
            f"--levels {text}; accepted: an integer number of levels, or levels such as 1,0.5,0.2,0.05"
        ) from error


def _print_samples(samples: EntrantSamples) -> None:
    """Print a row for each status of samples, and notes on samples that did not converge."""
    from gahbench.sampling.samples import STATUSES

    settings = samples.settings
    say(f"{' '.join(samples.source.split())}: {settings.sampler} sampler, seed {settings.seed}", "bold")
    table = Table(box=None, pad_edge=False)
    for heading in ("samples", "steps: min", "mean", "max", "final σ: min", "mean", "max"):
        table.add_column(heading, justify="right")
    table.add_column("status")
    counts = {}
    for status in STATUSES:
        indices = [index for index, sample_status in enumerate(samples.status) if sample_status == status]
        if indices:
            counts[status] = len(indices)
            steps, sigma = samples.steps[indices].double(), samples.sigma[indices]
            is_finite = bool(sigma.isfinite().all())
            sigma_cells = [
                f"{float(value):.4f}" if is_finite else DASH for value in (sigma.min(), sigma.mean(), sigma.max())
            ]
            table.add_row(
                str(len(indices)),
                f"{steps.min():.0f}",
                f"{steps.mean():.1f}",
                f"{steps.max():.0f}",
                *sigma_cells,
                status,
            )
    Console().print(table)
    if "diverged" in counts:
        all_diverged = counts["diverged"] == len(samples)
        diverged = "all samples" if all_diverged else f"{counts['diverged']} of {len(samples)} samples"
        limit = f"over {settings.bound:g} per pixel (root mean square)"
        say(f"{diverged} diverged: the residual was not finite, or {limit}", "red")
    if "out of steps" in counts:
        say(
            f"{counts['out of steps']} of {len(samples)} samples ran out of steps, after "
            f"{settings.step_limit()}: the estimated noise level did not fall to {settings.sigma_end:g}",
            "yellow",
        )
