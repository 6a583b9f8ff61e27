"""The commands ``preview``, ``inspect`` and ``sample``, which need no results folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gahbench._util.core_yaml import as_number
from gahbench._util.errors import ParameterError
from gahbench._util.readable import pluralize
from gahbench.cli import options
from gahbench.cli.help import help_of
from gahbench.cli.printing import say, say_written
from gahbench.cli.progress import Progress
from gahbench.contracts.datasets import Split
from gahbench.registry.spec import parse_spec

if TYPE_CHECKING:
    from gahbench.explore.inspection import Inspection
    from gahbench.explore.preview import Preview

_T = TypeVar("_T")
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


def _options(target: str) -> Callable[..., Any]:
    """Return a function that makes the option of a parameter of a public function, with its help and default."""
    return lambda parameter, *flags: typer.Option(*flags, help=help_of(f"gahbench.{target}", parameter, default=True))


_preview, _inspect = _options("explore.preview:preview"), _options("explore.inspection:inspect")
_sample, _settings = _options("explore.sample:sample"), _options("sampling.settings:Sampling")
_Dataset = Annotated[str, typer.Argument(help=help_of("gahbench.explore.preview:preview", "dataset"))]
_Entrant = Annotated[str, typer.Argument(help=help_of("gahbench.explore.inspection:inspect", "entrant"))]
_Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Another setting of gahbench.sampling.Sampling: levels=[1,0.5,0.05]. Repeatable."),
]
_Sheet = Annotated[Path, typer.Option("--out", "-o", help="File of the contact sheet: .png, .svg or .pdf.")]
_Figures = Annotated[Path, typer.Option("--out", "-o", help="Folder of figures, or a .pdf file with a page for each.")]
_Samples = Annotated[Path, typer.Option("--out", "-o", help="Folder of samples.png and samples.npz.")]


def preview(
    dataset: _Dataset,
    sigma: Annotated[list[str] | None, _preview("sigmas", "--sigma", "-s")] = None,
    count: Annotated[int | None, _preview("count")] = None,
    split: Annotated[Split | None, _preview("split")] = None,
    start: Annotated[int | None, _preview("start")] = None,
    out: _Sheet = Path("preview-{dataset}.png"),
    plugins_dir: options.Plugins = None,
) -> None:
    """Print the properties of a dataset, and write a contact sheet of its images under noise."""
    import gahbench
    from gahbench.report.drawing import check_suffix

    # Check the argument before the slow loading of images.
    check_suffix(out)
    given = _given(sigmas=parse_sigmas(sigma), count=count, split=split, start=start, plugins=plugins_dir)
    dataset_preview = gahbench.preview(dataset, **given)
    _print_card(dataset_preview)
    file = _fill(out, "{dataset}", dataset_preview.configured.label)
    dataset_preview.save(file)
    say(f"wrote {file}")


def _fill(path: Path, placeholder: str, label: str) -> Path:
    """Put the label of a dataset or entrant into the path of an output."""
    from gahbench.report.cells import file_stems

    return Path(str(path).replace(placeholder, file_stems([label])[label]))


def _given(**arguments: Any) -> dict[str, Any]:
    """Return the arguments that the user set; a function has the defaults of all others."""
    return {name: value for name, value in arguments.items() if value not in (None, ())}


def parse_sigmas(texts: Sequence[str] | None) -> tuple[float, ...]:
    """Parse strings of noise levels separated by commas; fractions such as 25/255 are accepted."""
    accepted = "numbers greater than 0, such as 0.05,0.15 or 25/255"
    return _parse("--sigma", texts, lambda part: float(as_number(part)), accepted)


def _parse(option: str, texts: Sequence[str] | None, convert: Callable[[str], _T], accepted: str) -> tuple[_T, ...]:
    try:
        return tuple(convert(part.strip()) for text in texts or () for part in text.split(","))
    except ValueError as error:
        raise ParameterError(f"{option} {' '.join(texts or ())}; accepted: {accepted}") from error


def _print_card(preview: Preview) -> None:
    """Print the properties of a dataset, and the PSNR of noisy and optimally denoised images."""
    say(f"dataset {preview.configured.label}  ({preview.configured.plugin.origin})", "bold")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in preview.card.items():
        table.add_row(name, Text(fact))
    Console().print(table)


def inspect(
    entrant: _Entrant,
    checkpoint: Annotated[Path | None, _inspect("checkpoint")] = None,
    dataset: Annotated[str | None, _inspect("dataset", "--dataset", "-d")] = None,
    index: Annotated[int | None, _inspect("index")] = None,
    sigma: Annotated[list[str] | None, _inspect("sigmas", "--sigma", "-s")] = None,
    basis: Annotated[list[str] | None, _inspect("bases", "--basis", "-b")] = None,
    others: Annotated[int | None, _inspect("others")] = None,
    rank: Annotated[list[str] | None, _inspect("ranks", "--rank", "-k")] = None,
    device: Annotated[str | None, _inspect("device")] = None,
    out: _Figures = Path("inspect-{entrant}"),
    plugins_dir: options.Plugins = None,
) -> None:
    """Draw the eigenvectors of a denoiser's Jacobian at an image, and compare them with bases."""
    import gahbench
    from gahbench.explore.inspection import check_out

    check_out(out)
    ranks = _parse("--rank", rank, int, "whole numbers, such as 5,41")
    given = _given(
        checkpoint=checkpoint, dataset=dataset, index=index, sigmas=parse_sigmas(sigma), bases=basis, others=others,
        ranks=ranks, device=device, plugins=plugins_dir,
    )  # fmt: skip
    with Progress("inspecting") as show_progress:

        def progress(done: int, steps: int, doing: str) -> None:
            show_progress(f"{done} of {steps} measurements done, now {doing}", done / steps)

        inspection = gahbench.inspect(entrant, progress=progress, **given)
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
            for basis, row in level.agreements(inspection.compared_index).items()
        ]
    headings = [heading for heading, _ in _SCORE_COLUMNS.values()] + [f"λ_{rank}" for rank in inspection.ranks]
    _print_table(("σ", "noisy\n(dB)", *headings), rows)
    if agreements:
        _print_table(("σ", "basis", "direction\nhere", "direction,\nmean", "alignment,\nmean"), agreements)
    for note in inspection.notes:
        say(note, "yellow")


def _print_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table of numbers; labels contain brackets, which rich would read as markup."""
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(escape(heading), justify="right", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


def sample(
    entrant: _Entrant,
    checkpoint: Annotated[Path | None, _sample("checkpoint")] = None,
    dataset: Annotated[str | None, _sample("dataset", "--dataset", "-d")] = None,
    count: Annotated[int | None, _settings("count", "--count", "-n")] = None,
    seed: Annotated[int | None, _settings("seed")] = None,
    sampler: Annotated[str | None, _settings("sampler")] = None,
    settings: _Settings = None,
    batch: Annotated[int | None, _sample("batch")] = None,
    device: Annotated[str | None, _sample("device")] = None,
    out: _Samples = Path("sample-{entrant}"),
    plugins_dir: options.Plugins = None,
) -> None:
    """Sample images from a denoiser, and write a sheet of them and a file of arrays.

    Exit status: 0 samples were written, 1 all samples diverged, 2 bad input.
    """
    import gahbench

    given = _given(
        checkpoint=checkpoint, dataset=dataset, count=count, seed=seed, sampler=sampler, batch=batch, device=device,
        plugins=plugins_dir,
    )  # fmt: skip
    given |= parse_spec(f"sampling[{','.join(settings or ())}]").keywords
    with Progress("sampling") as show_progress:

        def progress(share: float, finished: int) -> None:
            show_progress(f"{share:.0%} done, {pluralize(finished, 'sample')} finished", share)

        samples = gahbench.sample(entrant, progress=progress, **given)
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
