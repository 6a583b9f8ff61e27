"""The commands ``preview inspect sample``, which need no results folder."""

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
from gahbench._util.readable import counted, level_name
from gahbench.cli import options
from gahbench.cli.printing import say, say_written
from gahbench.cli.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.board.alignments import Measure
    from gahbench.explore.inspection import Inspection, Level
    from gahbench.explore.preview import Preview
    from gahbench.explore.sample import EntrantSamples

DASH = "–"
#: The name of an optimum's denoiser in the table of noise levels of a preview, and of what it reaches.
_OPTIMA = {"exact": ("optimal", "under this noise"), "bracket": ("at most", "genie under this noise")}
#: Columns of an inspection by the name of a score: heading and decimals.
_FACTS = {
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
        list[str] | None, typer.Option("--sigma", "-s", help="Noise levels. May be repeated. [default: 0.05,0.15,0.4]")
    ] = None,
    count: Annotated[int | None, typer.Option(help="Number of images. [default: 4, or all there are]")] = None,
    split: Annotated[str, typer.Option(help="train, validation, test, A or B.")] = "test",
    start: Annotated[int, typer.Option(help="Number of the first image.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Contact sheet: .png, .svg or .pdf. [default: preview-DATASET.png]"),
    ] = None,
    true_basis: Annotated[
        bool, typer.Option("--true-basis", help="Also a sheet of the first image's true basis, if known.")
    ] = False,
    plugins_dir: options.Plugins = None,
) -> None:
    """Preview a dataset: a contact sheet of images under noise, and a card of its properties."""
    import gahbench
    from gahbench.explore.preview import SIGMAS
    from gahbench.report.cells import file_stems
    from gahbench.report.drawing import check_suffix

    levels = parse_sigmas(sigma or ()) or SIGMAS
    if out is not None:
        # Loading takes long, so arguments are checked first.
        check_suffix(out)
    found = gahbench.preview(
        dataset, levels, count=count, split=split, start=start, true_basis=true_basis, plugins=plugins_dir or ()
    )
    print_card(found, Console())
    label = found.configured.label
    file = Path(f"preview-{file_stems([label])[label]}.png") if out is None else out
    found.save(file)
    say(f"wrote {file}")
    if true_basis:
        beside = file.with_stem(f"{file.stem}-true-basis")
        found.save_basis(beside)
        say(f"wrote {beside}")


def parse_sigmas(texts: Sequence[str]) -> tuple[float, ...]:
    """Read noise levels, each text one or several with commas between them; 25/255 is a number too."""
    parts = [part.strip() for text in texts for part in text.split(",")]
    try:
        return tuple(float(as_number(part)) for part in parts)
    except ValueError as error:
        raise ParameterError(
            f"--sigma {' '.join(texts)}: accepted: numbers greater than 0, such as 0.05,0.15 or 25/255"
        ) from error


def print_card(preview: Preview, console: Console) -> None:
    """Print the properties of a dataset, and the PSNR that can be reached on the previewed images."""
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
    console.print(_levels(preview))
    for level in preview.levels:
        if level.trouble:
            text = f"σ = {level_name(level.sigma)}: the optimum cannot be computed: {level.trouble}"
            console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _levels(preview: Preview) -> Table:
    """Return the table of PSNR in dB at every noise level."""
    from gahbench.evaluation.rates import input_psnr
    from gahbench.report.cells import number
    from gahbench.report.contact_sheet import format_psnr

    names = _OPTIMA.get(preview.optimum.kind, ())
    sampled = any(level.best is not None and level.best.ess_fraction is not None for level in preview.levels)
    table = _table("noisy", *names, *(["effective samples"] if sampled else []))
    for level in preview.levels:
        row = [level_name(level.sigma), number(float(input_psnr(level.sigma)), 1)]
        best = level.best
        if names:
            errors = (math.nan, math.nan) if best is None else (best.expected, best.measured)
            row += [DASH if math.isnan(error) else format_psnr(error).removesuffix(" dB") for error in errors]
        if sampled:
            row.append(DASH if best is None or best.ess_fraction is None else f"{100 * best.ess_fraction:.0f} %")
        table.add_row(*row)
    return table


def _table(*names: str) -> Table:
    """Return a table with a row for each noise level."""
    table = Table(box=None, pad_edge=False)
    for name in ("σ", *names):
        # Labels of bases have brackets, which are not markup.
        table.add_column(name.replace("[", r"\["), justify="right", overflow="fold")
    return table


_Entrant = Annotated[
    str, typer.Argument(help="A reference, or an architecture with weights: name[key=value,checkpoint=FILE].")
]
_ImageDataset = Annotated[
    str, typer.Option("--dataset", "-d", help="Dataset of the image, and of the training images of references.")
]
_Image = Annotated[Path | None, typer.Option(help="An image file, .npy or .npz in place of the dataset's image.")]
_Size = Annotated[
    int | None,
    typer.Option(help="Side of the square in the centre of the image file, up to 48. [default: 40, or its side]"),
]
_Colour = Annotated[bool, typer.Option("--colour", help="Keep the image file's colours, for a network of them.")]
_Sigma = Annotated[
    list[str] | None,
    typer.Option("--sigma", "-s", help="Noise levels, such as 0.1 or 25/255. May be repeated. [default: 0.03,0.1,0.3]"),
]
_Basis = Annotated[
    list[str] | None,
    typer.Option(
        "--basis",
        "-b",
        help="A basis to compare with. May be repeated. [default: graph-laplacian, bandlet, sym4, dct, true-basis]",
    ),
]
_Others = Annotated[
    int,
    typer.Option(help="Other images that direction and alignment are computed with, 23 or more; 0 leaves them out."),
]
_Figures = Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the figures. [default: inspect-ENTRANT]")]


def inspect(
    entrant: _Entrant,
    checkpoint: options.Checkpoint = None,
    dataset: _ImageDataset = "faces[size=24]",
    index: Annotated[int, typer.Option(help="Number of the test image.")] = 0,
    image: _Image = None,
    size: _Size = None,
    colour: _Colour = False,
    sigma: _Sigma = None,
    basis: _Basis = None,
    others: _Others = 23,
    out: _Figures = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """Inspect the basis that a denoiser learned: eigenvectors of its Jacobian at an image, and bases it agrees with."""
    import gahbench
    from gahbench.explore.inspection import SIGMAS
    from gahbench.report.cells import file_stems

    levels = parse_sigmas(sigma or ()) or SIGMAS
    with Progress("inspecting") as shown:
        found = gahbench.inspect(
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
            plugins=plugins_dir or (),
            progress=lambda done, steps, doing: shown(
                f"{done} of {steps} measurements done, now {doing}", done / steps
            ),
        )
    _print_inspection(found, Console())
    label = found.entrant
    say_written(found.save(Path(f"inspect-{file_stems([label])[label]}") if out is None else out))


def _print_inspection(inspection: Inspection, console: Console) -> None:
    """Print the facts at each noise level, and direction and alignment with each basis."""
    from gahbench.board.alignments import MEASURES
    from gahbench.evaluation.rates import input_psnr
    from gahbench.report.bases import level_names
    from gahbench.report.cells import number

    say(f"{inspection.entrant} on {inspection.image}", "bold")
    names = level_names(level.sigma for level in inspection.levels)
    facts = _table("noisy\n(dB)", *(heading for heading, _ in _FACTS.values()))
    for level in inspection.levels:
        cells = [number(level.scores.get(name), digits) for name, (_, digits) in _FACTS.items()]
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
        say(note, "yellow")


def _headlines(level: Level, measure: Measure) -> dict[str, Tensor]:
    """Return the values of all images by basis, of those bases that have any."""
    return {name: parts[""] for name, found in level.compared.items() if "" in (parts := found.get(measure, {}))}


_Sampled = Annotated[
    str,
    typer.Argument(
        help="A reference that sees no clean image, or an architecture with weights: name[checkpoint=FILE]."
    ),
]
_LearnedDataset = Annotated[
    str, typer.Option("--dataset", "-d", help="Dataset that references learn from, and whose image size samples have.")
]
_Sampler = Annotated[str, typer.Option(help="stochastic, or flow: the deterministic probability flow.")]
_SigmaStart = Annotated[
    float | None, typer.Option(help="Noise level where sampling starts. [default: 1.0]", show_default=False)
]
_SigmaEnd = Annotated[float | None, typer.Option(help="Noise level where it ends. [default: 0.05]", show_default=False)]
_MaxSteps = Annotated[
    int | None, typer.Option(help="Stochastic: maximum of steps. [default: ten times those of an ideal denoiser]")
]
_Levels = Annotated[str, typer.Option(help="Flow: number of noise levels, or falling levels such as 1,0.5,0.2,0.05.")]
_Batch = Annotated[int | None, typer.Option(help="Images denoised at a time. [default: as many as suit the memory]")]
_Samples = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder of samples.png and .npz. [default: sample-ENTRANT]")
]


def sample(
    entrant: _Sampled,
    checkpoint: options.Checkpoint = None,
    dataset: _LearnedDataset = "faces[size=24]",
    count: Annotated[int, typer.Option("--count", "-n", help="Number of samples.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of the noise, which is the same for every denoiser and count.")] = 0,
    sampler: _Sampler = "stochastic",
    mean: Annotated[float, typer.Option(help="Grey level that samples start around.")] = 0.5,
    sigma_start: _SigmaStart = None,
    sigma_end: _SigmaEnd = None,
    final_step: Annotated[bool, typer.Option(help="Denoise once at the end.")] = True,
    step: Annotated[float, typer.Option(help="Stochastic: part of the residual that the first step takes.")] = 0.01,
    beta: Annotated[float, typer.Option(help="Stochastic: 1 adds no noise, less adds more.")] = 0.1,
    growth: Annotated[str, typer.Option(help="Stochastic: growing or constant steps.")] = "growing",
    max_steps: _MaxSteps = None,
    levels: _Levels = "50",
    solver: Annotated[str, typer.Option(help="Flow: heun or euler.")] = "heun",
    batch: _Batch = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU if there is one.")] = "auto",
    out: _Samples = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """Sample images from a denoiser: a sheet of them, the arrays, and the status of each.

    Exit status: 0 samples were written, 1 all of them diverged, 2 bad input.
    """
    import gahbench
    from gahbench.report.cells import file_stems

    settings = {
        "count": count, "seed": seed, "sampler": sampler, "mean": mean, "sigma_start": sigma_start,
        "sigma_end": sigma_end, "final_step": final_step, "step": step, "beta": beta, "growth": growth,
        "max_steps": max_steps, "levels": parse_levels(levels), "solver": solver,
    }  # fmt: skip
    with Progress("sampling") as shown:
        found = gahbench.sample(
            entrant,
            dataset=dataset,
            checkpoint=checkpoint,
            batch=batch,
            device=device,
            progress=lambda share, finished: shown(f"{share:.0%} done, {counted(finished, 'sample')} finished", share),
            plugins=plugins_dir or (),
            **{name: value for name, value in settings.items() if value is not None},
        )
    label = found.source.partition("\n")[0]
    written = found.save(Path(f"sample-{file_stems([label])[label]}") if out is None else out)
    _print_samples(found)
    say_written(written)
    if all(status == "diverged" for status in found.status):
        raise typer.Exit(1)


def parse_levels(text: str) -> int | list[float]:
    """Read the number of noise levels, or the levels with commas between them."""
    parts = [part.strip() for part in text.split(",")]
    try:
        return int(parts[0]) if len(parts) == 1 else [float(part) for part in parts]
    except ValueError as error:
        raise ParameterError(
            f"--levels {text}: accepted: a whole number of levels, or levels such as 1,0.5,0.2,0.05"
        ) from error


def _print_samples(samples: EntrantSamples) -> None:
    """Print a row for each status of samples, and notes on those that did not converge."""
    from gahbench.sampling.samples import STATUSES

    settings = samples.settings
    say(f"{' '.join(samples.source.split())}: {settings.sampler} sampler, seed {settings.seed}", "bold")
    table = Table(box=None, pad_edge=False)
    for name in ("samples", "steps: least", "mean", "most", "final σ: least", "mean", "most"):
        table.add_column(name, justify="right")
    table.add_column("status")
    counts = {}
    for status in STATUSES:
        places = [place for place, found in enumerate(samples.status) if found == status]
        if places:
            counts[status] = len(places)
            steps, sigma = samples.steps[places].double(), samples.sigma[places]
            finite = bool(sigma.isfinite().all())
            extremes = [f"{float(value):.4f}" if finite else DASH for value in (sigma.min(), sigma.mean(), sigma.max())]
            table.add_row(
                str(len(places)), f"{steps.min():.0f}", f"{steps.mean():.1f}", f"{steps.max():.0f}", *extremes, status
            )
    Console().print(table)
    if "diverged" in counts:
        every = counts["diverged"] == len(samples)
        which = "all samples" if every else f"{counts['diverged']} of {len(samples)} samples"
        limit = f"over {settings.bound:g} a pixel (root mean square)"
        say(f"{which} diverged: the residual was not finite, or {limit}", "red")
    if "out of steps" in counts:
        say(
            f"{counts['out of steps']} of {len(samples)} samples were out of steps, after "
            f"{settings.step_limit()}: the noise that the denoiser sees did not fall to {settings.sigma_end:g}",
            "yellow",
        )
