"""Commands of ``gahbench draw``: figures that a run does not write to its results folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gahbench.cli import options
from gahbench.cli.printing import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gahbench.board.display_names import DisplayNames
    from gahbench.board.results import Results
    from gahbench.registry.registry import Registry

app = typer.Typer(
    help="Draw further figures: rates, alignment, generalization, samples, approximation errors, bases.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


RateOption = Annotated[str, typer.Option(help="The metric rate, optionally with parameters that set its noise levels.")]


def _out(default: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        "--out", "-o", help=f"File of the figure: .png, .svg or .pdf. [default: {default}]", show_default=False
    )
    return option


@app.command()
def metrics(
    folder: options.Folder,
    out: Annotated[Path, _out("metrics.png")] = Path("metrics.png"),
    dataset: options.OnlyDataset = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="A metric or metric.part. Repeatable. [default: all with a title]"),
    ] = None,
    plugins_dir: options.Plugins = None,
) -> None:
    """Draw metrics against input PSNR, and mark the better direction: a figure for each dataset."""
    from gahbench.board.selection import select
    from gahbench.report.figures import metrics_figure

    registry = _open_registry(out, plugins_dir)
    results = select(_load_results(folder, out), datasets=dataset or ())
    for index, board in enumerate(results.board.datasets):
        _save(metrics_figure(results, board, registry, metric or ()), _number_path(out, index))


@app.command()
def rates(
    folder: options.Folder,
    out: Annotated[Path, _out("rates.png")] = Path("rates.png"),
    entrant: options.OnlyEntrant = None,
    rate: RateOption = "rate",
    plugins_dir: options.Plugins = None,
) -> None:
    """Draw output PSNR and local slopes against input PSNR, with the slopes that theory predicts."""
    from gahbench.report.rates import rates_figure

    _draw_rates(rates_figure, folder, out, entrant, rate, plugins_dir)


@app.command()
def resolution(
    folder: options.Folder,
    out: Annotated[Path, _out("resolution.png")] = Path("resolution.png"),
    entrant: options.OnlyEntrant = None,
    rate: RateOption = "rate",
    plugins_dir: options.Plugins = None,
) -> None:
    """Draw slopes against image size, for datasets that differ only in size."""
    from gahbench.report.rates import resolution_figure

    _draw_rates(resolution_figure, folder, out, entrant, rate, plugins_dir)


@app.command()
def optimality(
    folder: options.Folder,
    out: Annotated[Path, _out("optimality.png")] = Path("optimality.png"),
    dataset: options.OnlyDataset = None,
    entrant: options.OnlyEntrant = None,
) -> None:
    """Draw distance from the bound against noise level over image side, and mark levels where errors have collapsed."""
    from gahbench.report.rates import optimality_figure

    _save(optimality_figure(_load_results(folder, out), dataset, entrant), out)


@app.command()
def alignment(
    folder: options.Folder,
    out: Annotated[Path, _out("alignment.png")] = Path("alignment.png"),
    dataset: options.OnlyDataset = None,
    entrant: options.OnlyEntrant = None,
    basis: Annotated[
        str, typer.Option("--basis", "-b", help="Basis, as in the name of its metric, or 'best denoiser'.")
    ] = "graph-laplacian",
    metric: Annotated[Literal["direction", "alignment"], typer.Option(help="Comparison with the basis.")] = "direction",
) -> None:
    """Draw direction or alignment with a basis against input PSNR: a curve for each entrant."""
    from gahbench.board.alignments import agreement_curves
    from gahbench.board.facts import entrant_kinds
    from gahbench.report.bases import agreement_figure

    results = _load_results(folder, out)
    names = results.names
    panels = {
        names.dataset(label): {names.entrant(row): curve for row, curve in curves.items()}
        for label, curves in agreement_curves(results, basis, dataset, entrant, metric).items()
    }
    kinds = {names.entrant(label): kind for label, kind in entrant_kinds(results).items()}
    _save(agreement_figure(panels, list(map(names.entrant, results.entrants)), kinds, basis, metric), out)


@app.command()
def bases(
    folder: options.Folder,
    out: Annotated[Path, _out("bases.png")] = Path("bases.png"),
    dataset: options.OnlyDataset = None,
    entrant: options.OnlyEntrant = None,
) -> None:
    """Draw the mean direction and alignment over noise levels with each basis: a panel for each entrant."""
    from gahbench.board.alignments import mean_agreements
    from gahbench.board.display_names import basis_names
    from gahbench.registry.registry import open_registry
    from gahbench.report.bases import bases_figure

    results = _load_results(folder, out)
    rows_by_panel = {
        (results.names.dataset(pair[0]), results.names.entrant(pair[1])): rows
        for pair, rows in mean_agreements(results, dataset, entrant).items()
    }
    names = basis_names(open_registry(), (basis for rows in rows_by_panel.values() for basis in rows))
    rows_by_panel = {pair: {names[basis]: row for basis, row in rows.items()} for pair, rows in rows_by_panel.items()}
    datasets = list(dict.fromkeys(name for name, _ in rows_by_panel))
    # With a single dataset, its name is in the title rather than in the label of each panel.
    has_one_dataset = len(datasets) == 1
    panels = {label if has_one_dataset else f"{label} on {name}": rows for (name, label), rows in rows_by_panel.items()}
    _save(
        bases_figure(panels, f"{datasets[0]}, mean over noise levels" if has_one_dataset else "mean over noise levels"),
        out,
    )


@app.command()
def generalization(
    folder: options.Folder,
    out: Annotated[Path, _out("generalization.png")] = Path("generalization.png"),
    dataset: options.OnlyDataset = None,
    entrant: options.OnlyEntrant = None,
) -> None:
    """Draw output PSNR on training and test images against input PSNR: a curve for each number of training images."""
    from gahbench.board.generalization import find_sweeps
    from gahbench.report.training import curves_figure

    results = _load_results(folder, out)
    _save(curves_figure(results, find_sweeps(results, dataset, entrant)), out)


@app.command()
def transitions(
    folder: options.Folder,
    out: Annotated[Path, _out("transitions.png")] = Path("transitions.png"),
    dataset: options.OnlyDataset = None,
    entrant: options.OnlyEntrant = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="A metric or metric.part. Repeatable. [default: all with a title]"),
    ] = None,
) -> None:
    """Draw metrics against the number of training images: a figure for each dataset and entrant."""
    from gahbench.board.generalization import find_sweeps
    from gahbench.report.training import transition_metrics, transitions_figure

    results = _load_results(folder, out)
    pairs = find_sweeps(results, dataset, entrant)
    for index, pair in enumerate(pairs):
        chosen = transition_metrics(results, *pair, metric)
        if chosen:
            _save(transitions_figure(results, *pair, chosen), _number_path(out, index))


@app.command()
def samples(
    folder: options.Folder,
    out: Annotated[Path, _out("samples.png")] = Path("samples.png"),
    dataset: options.OnlyDataset = None,
    entrant: options.OnlyEntrant = None,
    count: Annotated[int, typer.Option(min=1, max=32, help="Number of pairs of samples.")] = 8,
) -> None:
    """Draw paired samples of two networks with their nearest training images, and histograms of their cosines.

    If the suite has the metric sample-prediction, also draw the predictions of references.
    """
    from gahbench.report.contact_sheet import (
        cosines_figure,
        paired_samples,
        pairs_sheet,
        predicted_samples,
        predictions_sheet,
    )

    names = _names(folder, out)
    predicted = predicted_samples(folder, dataset, entrant)
    for index, (pair, sets) in enumerate(paired_samples(folder, dataset, entrant).items()):
        caption = f"{names.entrant(pair[1])}, {names.dataset(pair[0])}"
        file = _number_path(out, index)
        _save(pairs_sheet(sets, caption, count), file)
        _save(cosines_figure(sets, caption), file.with_stem(f"{file.stem}-cosines"))
        if pair in predicted:
            _save(predictions_sheet(predicted[pair], caption, count), file.with_stem(f"{file.stem}-predicted"))


@app.command()
def denoised(
    folder: options.Folder,
    out: Annotated[Path, _out("denoised.png")] = Path("denoised.png"),
    dataset: options.OnlyDataset = None,
    entrant: options.OnlyEntrant = None,
    sigma: Annotated[str | None, typer.Option("--sigma", "-s", help="Noise level. [default: the middle level]")] = None,
    count: Annotated[int, typer.Option(min=1, max=3, help="Number of images.")] = 3,
) -> None:
    """Draw test images clean, noisy and denoised by each entrant, and the errors: a sheet for each dataset."""
    from gahbench.cli.looking import parse_sigmas
    from gahbench.report.contact_sheet import denoised_sheet, kept_images, middle_level

    names = _names(folder, out)
    kept = kept_images(folder, dataset, entrant)
    levels = parse_sigmas([sigma]) if sigma is not None else (middle_level(kept),)
    if len(levels) > 1:
        raise typer.BadParameter("accepted: a single noise level", param_hint="--sigma")
    for index, images in enumerate(kept.values()):
        _save(denoised_sheet(images, levels[0], count, names), _number_path(out, index))


@app.command()
def training(
    folder: options.Folder,
    out: Annotated[Path, _out("training.png")] = Path("training.png"),
    dataset: options.OnlyDataset = None,
    entrant: options.OnlyEntrant = None,
) -> None:
    """Draw loss and validation PSNR of the trained networks against steps: a figure for each dataset."""
    from gahbench.report.training import histories, training_figure

    names = _names(folder, out)
    for index, (name, fits) in enumerate(histories(folder, dataset, entrant).items()):
        _save(training_figure(name, fits, names), _number_path(out, index))


def _number_path(out: Path, index: int) -> Path:
    """Return the path of the figure at an index: `out` for the first figure, then names that are numbered from 2."""
    return out if index == 0 else out.with_stem(f"{out.stem}-{index + 1}")


@app.command()
def approximation(
    dataset: Annotated[list[str], typer.Argument(help="Datasets, optionally with parameters: name[key=value,...].")],
    basis: Annotated[
        list[str] | None, typer.Option("--basis", "-b", help="An orthonormal basis. Repeatable. [default: sym4]")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Number of images to average over.")] = 16,
    out: Annotated[Path, _out("approximation.png")] = Path("approximation.png"),
    plugins_dir: options.Plugins = None,
) -> None:
    """Draw the error of nonlinear approximation against the number of terms."""
    from gahbench.explore.drawing import draw_approximation

    registry = _open_registry(out, plugins_dir)
    _save(draw_approximation(registry, dataset, basis or ["sym4"], images), out)


@app.command()
def geometry(
    dataset: Annotated[str, typer.Argument(help="A dataset, optionally with parameters: name[key=value,...].")],
    basis: Annotated[
        str, typer.Option("--basis", "-b", help="A bandlet basis, optionally with parameters.")
    ] = "bandlet",
    threshold: Annotated[float, typer.Option(min=0, help="Threshold below which coefficients are set to zero.")] = 0.1,
    index: Annotated[int, typer.Option(min=0, help="Index of the test image.")] = 0,
    noisy: Annotated[
        bool, typer.Option("--noisy", help="Adapt to the noisy image; sigma is a third of the threshold.")
    ] = False,
    out: Annotated[Path, _out("geometry.png")] = Path("geometry.png"),
    plugins_dir: options.Plugins = None,
) -> None:
    """Draw the squares and directions of a bandlet basis over the image that it is adapted to."""
    from gahbench.explore.drawing import draw_geometry

    registry = _open_registry(out, plugins_dir)
    _save(draw_geometry(registry, dataset, basis, threshold, index, noisy=noisy), out)


def _draw_rates(
    draw: Callable[[Results, dict[str, list[float]], list[str] | None], Figure],
    folder: Path,
    out: Path,
    entrants: list[str] | None,
    rate: str,
    plugins_dir: list[Path] | None,
) -> None:
    """Draw a figure of rates; warn of datasets and entrants without enough noise levels in the window."""
    from gahbench.board.rate_curves import entrant_windows
    from gahbench.evaluation.rates import MIN_LEVELS
    from gahbench.explore.drawing import rate_windows

    registry = _open_registry(out, plugins_dir)
    results = _load_results(folder, out)
    windows = rate_windows(results, registry, rate)
    without = [str(name) for name in results.datasets["dataset"] if name not in windows]
    if without:
        text = (
            f"no rate: fewer than {MIN_LEVELS} noise levels in the window, or images are missing: {', '.join(without)}"
        )
        say(text, "yellow", err=True)
    levels_by_dataset = entrant_windows(results, windows)
    excluded = [
        f"{entrant} on {dataset}"
        for dataset, levels_by_entrant in levels_by_dataset.items()
        for entrant, levels in levels_by_entrant.items()
        if len(levels) < MIN_LEVELS
    ]
    if excluded:
        text = f"no rate: the error depends on the number of pixels in the window: {', '.join(excluded)}"
        say(text, "yellow", err=True)
    _save(draw(results, windows, entrants), out)


def _load_results(folder: Path, out: Path) -> Results:
    """Check the suffix of the figure, then load the results."""
    from gahbench.board.results import load_results
    from gahbench.report.drawing import check_suffix

    check_suffix(out)
    return load_results(folder)


def _names(folder: Path, out: Path) -> DisplayNames:
    """Check the suffix of the figure, and return the display names of a planned folder."""
    from gahbench.board.display_names import display_names
    from gahbench.store.plan_file import require_plan

    registry, board = _open_registry(out), require_plan(folder).board
    return display_names(registry, board["entrants"], {row["dataset"]: row["spec"] for row in board["datasets"]})


def _open_registry(out: Path, plugins_dir: list[Path] | None = None) -> Registry:
    """Check the suffix of the figure before the slow loading of plugins."""
    from gahbench.registry.registry import open_registry
    from gahbench.report.drawing import check_suffix

    check_suffix(out)
    return open_registry(plugins_dir or ())


def _save(figure: Figure, out: Path) -> None:
    from gahbench.explore.drawing import save_figure

    save_figure(figure, out)
    say(f"wrote {out}")
