"""Charts of a page: board, metrics, training and sweeps, and the source that they are drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gahbench._util.errors import ResultsError
from gahbench._util.readable import level_name
from gahbench.board.board import DatasetBoard, Entry
from gahbench.board.facts import entrant_kinds
from gahbench.board.generalization import SweepCurves, find_sweeps, sweep_curves
from gahbench.board.results import Results
from gahbench.board.statistics import Interval
from gahbench.evaluation.rates import input_psnr
from gahbench.registry.registry import Registry
from gahbench.report.cells import fold_label, number
from gahbench.report.drawing import Styles, entrant_styles, figure_style
from gahbench.report.figures import (
    Quantity,
    better_directions,
    draw_metric,
    draw_quantity,
    metric_titles,
    panel_title,
    quantities,
    shown_metrics,
)
from gahbench.report.page.svg import Chart, Series
from gahbench.report.training import (
    Fits,
    draw_loss,
    draw_sweep_curves,
    draw_transition,
    draw_validation,
    group_by_level,
    histories,
    level_label,
    level_styles,
    number_label,
    number_positions,
    number_styles,
    numbers_of,
    transition_metrics,
    validation_psnr,
)

_SIZE = (4.4, 3.2)  # inches
#: Left, bottom, width and height of the axes, fixed since computing a layout would take most of the time of a page.
_AXES_BOX = (0.135, 0.15, 0.85, 0.83)
#: The largest number of entrants in a figure, which shows the best: readers could not tell more curves apart.
MAX_DRAWN = 24
#: The largest number of figures of metrics for each dataset.
MAX_METRICS = 24


@dataclass(frozen=True, eq=False)
class Source:
    """The results that a page shows, their folder, and the plot style of each entrant."""

    folder: Path
    results: Results
    registry: Registry

    @cached_property
    def indices(self) -> dict[str, int]:
        """The index of each entrant in the results, by which pages identify it."""
        return {label: index for index, label in enumerate(self.results.entrants)}

    @cached_property
    def _datasets(self) -> frozenset[str]:
        return frozenset(self.results.datasets["dataset"])

    def is_on_board(self, dataset: str, entrant: str) -> bool:
        """Return whether the board has a row; the plan of the folder may have changed after the board was written."""
        return entrant in self.indices and dataset in self._datasets

    @cached_property
    def styles(self) -> Styles:
        """The plot style of each entrant that was trained or scored."""
        return entrant_styles(self.results.entrants, entrant_kinds(self.results))

    @cached_property
    def style_indices(self) -> dict[str, int]:
        """The index of each entrant in :attr:`styles`, which is part of the ``id`` of its curves."""
        return {label: index for index, label in enumerate(self.styles)}

    @cached_property
    def curve_names(self) -> dict[str, str]:
        """The names of entrants, broken into lines for figures."""
        return {label: fold_label(self.results.names.entrant(label), 60) for label in self.results.entrants}

    @cached_property
    def titles(self) -> dict[str, str]:
        """The titles of metrics and of their parts."""
        return metric_titles(self.results)

    @cached_property
    def better(self) -> dict[str, str]:
        """Whether higher or lower values of each metric are better, in words."""
        boards = self.results.board.datasets
        return better_directions(
            self.registry, list({metric for board in boards for metric, _ in board.overall_metrics})
        )

    def drawn_entries(self, board: DatasetBoard) -> list[Entry]:
        """Return the entrants that figures of a dataset show: the best 24 entrants that have a value."""
        known = {value.entrant for value in board.values if value.estimate.is_known}
        scored = [entry for entry in board.entries if entry.entrant in known and entry.entrant in self.styles]
        return scored[:MAX_DRAWN]


def board_charts(source: Source, board: DatasetBoard) -> list[Chart]:
    """Return the charts of PSNR, gain and deficit against input PSNR, or lists of entrants at a single noise level."""
    entries = source.drawn_entries(board)
    psnr = [entry for entry in entries if board.estimate(entry.entrant, "psnr").is_known]
    if not psnr:
        return []
    baseline = source.results.baseline if board.is_known("gain_over_baseline") and len(psnr) > 1 else None
    baseline = None if baseline is None else source.results.names.entrant(baseline)
    if len(board.sigmas) < 2:
        names = {"psnr": "PSNR (dB)", "gain_over_baseline": f"gain over {baseline} (dB)"}
        known = [name for name in names if board.is_known(name)]
        return [_metric_chart(source, board, (name, ""), names[name], "higher is better", 2) for name in known]
    return [_quantity_chart(source, board, psnr, quantity, baseline) for quantity in quantities(board, psnr, baseline)]


def _quantity_chart(
    source: Source, board: DatasetBoard, entries: Sequence[Entry], quantity: str, baseline: str | None
) -> Chart:
    look = (source.styles, source.curve_names, baseline)
    figure, title = draw_figure(lambda ax: draw_quantity(ax, board, entries, quantity, *look))
    series = _series(source, board, entries, (quantity, ""), board.sigmas, quantity, 2)
    better = "lower is better" if quantity == "deficit" else "higher is better"
    return Chart(figure, title, series, _level_labels(board.sigmas), better, "dB")


def metric_charts(source: Source, board: DatasetBoard) -> list[Chart]:
    """Return the charts of all metrics other than the PSNR, and of their parts with a title."""
    charts = []
    for quantity in shown_metrics(board, source.titles)[:MAX_METRICS]:
        metric, part = quantity
        better = "" if part else source.better.get(metric, "")
        charts.append(_metric_chart(source, board, quantity, panel_title(quantity, source.titles, {}, 60), better, 3))
    return charts


def _metric_chart(
    source: Source, board: DatasetBoard, quantity: Quantity, title: str, better: str, digits: int
) -> Chart:
    entries, levels = source.drawn_entries(board), board.levels(*quantity)
    figure, _ = draw_figure(lambda ax: draw_metric(ax, board, entries, quantity, source.styles, source.curve_names))
    series = _series(source, board, entries, quantity, levels if len(levels) > 1 else (), "metric", digits)
    return Chart(figure, title, series, _level_labels(levels) or [""], better)


def draw_figure(draw: Callable[[Axes], str | None]) -> tuple[Figure, str]:
    """Draw a figure with one set of axes, and return it with the title that ``draw`` returns."""
    with figure_style():
        figure = Figure(figsize=_SIZE)
        return figure, draw(figure.add_axes(_AXES_BOX)) or ""


def _series(
    source: Source,
    board: DatasetBoard,
    entries: Sequence[Entry],
    quantity: Quantity,
    levels: Sequence[float],
    prefix: str,
    digits: int,
) -> dict[str, Series]:
    """Return the known values of entrants at the given noise levels, or their means if no levels are given."""
    series = {}
    for label in (entry.entrant for entry in entries if board.estimate(entry.entrant, *quantity).is_known):
        overall = board.estimate(label, *quantity)
        values = [board.estimate(label, *quantity, sigma=sigma) for sigma in levels] or [overall]
        x = input_psnr(levels).tolist() or [overall.value]
        texts = [value_text(value, digits) for value in values]
        series[f"{prefix}-{source.style_indices[label]}"] = Series(
            source.results.names.entrant(label), x, texts, source.indices[label]
        )
    return series


def value_text(estimate: Interval, digits: int) -> str:
    """Return a value and, if they are known, the ends of its interval, separated by spaces."""
    has_interval = not (math.isnan(estimate.low) or math.isnan(estimate.high))
    values = [estimate.value, estimate.low, estimate.high] if has_interval else [estimate.value]
    return " ".join(number(value, digits) for value in values)


def _level_labels(sigmas: Sequence[float]) -> list[str]:
    return [f"σ = {level_name(sigma)}" for sigma in sigmas]


@dataclass(frozen=True, eq=False)
class TrainingCharts:
    """Charts of the training on a dataset, with the entrants that were trained."""

    dataset: str
    entrants: Sequence[str]
    charts: Sequence[Chart]


def training_charts(source: Source) -> list[TrainingCharts]:
    """Return charts of the loss and the validation PSNR for each dataset; empty if the folder has no histories."""
    try:
        stored = histories(source.folder)
    except ResultsError:
        return []
    trained = []
    for dataset, dataset_fits in stored.items():
        if fits := [fit for fit in dataset_fits if source.is_on_board(dataset, fit[0].entrant)]:
            entrants = list(dict.fromkeys(fit.entrant for fit, _ in fits))
            figures = [_training_chart(source, fits, quantity) for quantity in ("loss", "psnr")]
            trained.append(TrainingCharts(dataset, entrants, figures))
    return trained


def _training_chart(source: Source, fits: Fits, quantity: str) -> Chart:
    is_loss = quantity == "loss"
    # An entrant has the same colour as in the other charts.
    colours = {label: style["color"] for label, style in source.styles.items()}
    figure, _ = draw_figure(lambda ax: (draw_loss if is_loss else draw_validation)(ax, fits, colours))
    has_seeds = len({(fit.seed, fit.split) for fit, _ in fits}) > 1
    series = {}
    for index, (fit, history) in enumerate(fits):
        values = history["loss"] if is_loss else validation_psnr(history)
        half = f", half {fit.split}" if fit.split else ""
        name = source.results.names.entrant(fit.entrant) + (f", seed {fit.seed}{half}" if has_seeds else "")
        known = np.isfinite(values)
        steps = history["step"][known]
        texts = [f"{value:.4g}" if is_loss else number(value) for value in values[known]]
        points = [f"step {step}" for step in steps]
        series[f"{quantity}-{index}"] = Series(name, steps.tolist(), texts, source.indices.get(fit.entrant), points)
    if is_loss:
        return Chart(figure, "training loss", series, note="lower is better")
    return Chart(figure, "validation PSNR, mean over σ", series, note="higher is better", unit="dB")


@dataclass(frozen=True, eq=False)
class SweepCharts:
    """Charts of an entrant that was trained on several numbers of images of a dataset."""

    dataset: str
    entrant: str
    charts: Sequence[Chart]


def sweep_charts(source: Source) -> list[SweepCharts]:
    """Return charts of each entrant that was trained on several numbers of images."""
    try:
        pairs = find_sweeps(source.results)
    except ResultsError:
        return []
    return [SweepCharts(dataset, entrant, _charts_of_sweep(source, dataset, entrant)) for dataset, entrant in pairs]


def _charts_of_sweep(source: Source, dataset: str, entrant: str) -> list[Chart]:
    results = source.results
    curves = [(sweep_curves(results, dataset, entrant, "psnr", split), split) for split in ("train", "test")]
    # A curve needs two noise levels.
    charts = [
        _noise_chart(*curve_and_split)
        for curve_and_split in curves
        if any(len(points) > 1 for points in curve_and_split[0].values())
    ]
    nulls = dict(zip(results.metrics["metric"], results.metrics["null"], strict=True))
    for metric in transition_metrics(results, dataset, entrant):
        if values := sweep_curves(results, dataset, entrant, metric):
            null = sweep_curves(results, dataset, entrant, nulls[metric]) if nulls.get(metric) else {}
            charts.append(_number_chart(source, metric, values, null))
    return charts


def _noise_chart(curves: SweepCurves, split: str) -> Chart:
    """Return the chart of PSNR against input PSNR, a curve for each number of training images."""
    styles = number_styles(numbers_of([curves]))
    figure, _ = draw_figure(lambda ax: _with_legend(ax, lambda: draw_sweep_curves(ax, curves, styles)))
    series = {}
    for index, (images, points) in enumerate(curves.items()):
        levels = sorted(points)
        texts = [value_text(points[sigma], 2) for sigma in levels]
        series[f"number-{index}"] = Series(
            number_label(images), input_psnr(levels).tolist(), texts, None, _level_labels(levels)
        )
    image_kind = "training" if split == "train" else split
    return Chart(figure, f"output PSNR on {image_kind} images, by number of training images", series, unit="dB")


def _number_chart(source: Source, metric: str, curves: SweepCurves, null: SweepCurves) -> Chart:
    positions = number_positions(numbers_of([curves]))
    levels = dict(sorted(group_by_level(curves, positions).items()))
    styles = level_styles([sigma for sigma in levels if sigma])
    figure, _ = draw_figure(lambda ax: _with_legend(ax, lambda: draw_transition(ax, curves, null, positions, styles)))
    labels = {position: number_label(images) for images, position in positions.items()}
    series = {}
    for index, (sigma, values) in enumerate(levels.items()):
        x, texts = [position for position, _ in values], [value_text(point, 3) for _, point in values]
        series[f"level-{index}"] = Series(level_label(sigma), x, texts, None, [labels[position] for position in x])
    note = ", ".join(filter(None, [source.better.get(metric, ""), "dotted: chance level" if null else ""]))
    return Chart(figure, source.titles.get(metric) or metric, series, note=note)


def _with_legend(ax: Axes, draw: Callable[[], None]) -> None:
    """Draw curves, and add a legend inside the axes."""
    draw()
    ax.legend(fontsize=6.5, ncols=2, frameon=False, handlelength=1.8, columnspacing=1.0)
