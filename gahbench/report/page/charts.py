"""Figures of a page, and the source that they are drawn from: board, metrics, ranked bases, training, and sweeps."""

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
from gahbench.board.alignments import rankings
from gahbench.board.board import DatasetBoard, Entry
from gahbench.board.facts import entrant_kinds
from gahbench.board.generalization import SweepCurves, course, swept
from gahbench.board.results import Results
from gahbench.board.statistics import Interval
from gahbench.evaluation.rates import input_psnr
from gahbench.registry.registry import Registry
from gahbench.report.bases import ranking_figure
from gahbench.report.cells import folded, number
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
    by_level,
    draw_course,
    draw_loss,
    draw_transition,
    draw_validation,
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
#: Left, bottom, width and height of the axes: computing a layout would take most of the time of a page.
_FRAME = (0.135, 0.15, 0.85, 0.83)
#: The most entrants in a figure, the best ones: more could not be distinguished.
MAX_DRAWN = 24
#: The most figures of metrics of one dataset.
MAX_METRICS = 24


@dataclass(frozen=True, eq=False)
class Source:
    """The results that a page shows, their folder, and the look of each entrant."""

    folder: Path
    results: Results
    registry: Registry

    @cached_property
    def places(self) -> dict[str, int]:
        """The index of each entrant, by which the page refers to it."""
        return {label: index for index, label in enumerate(self.results.entrants)}

    @cached_property
    def _datasets(self) -> frozenset[str]:
        return frozenset(self.results.datasets["dataset"])

    def has(self, dataset: str, entrant: str) -> bool:
        """Whether labels are on the board: the plan of the folder may have changed after the board was written."""
        return entrant in self.places and dataset in self._datasets

    @cached_property
    def styles(self) -> Styles:
        """The look of each entrant that was trained or scored."""
        return entrant_styles(self.results.entrants, entrant_kinds(self.results))

    @cached_property
    def drawn_places(self) -> dict[str, int]:
        """The index of each entrant among :attr:`styles`, which is in the ``id`` of its curves."""
        return {label: index for index, label in enumerate(self.styles)}

    @cached_property
    def names(self) -> dict[str, str]:
        """The labels of entrants as figures show them."""
        return {label: folded(label, 60) for label in self.results.entrants}

    @cached_property
    def titles(self) -> dict[str, str]:
        """Titles of metrics and of their parts."""
        return metric_titles(self.results)

    @cached_property
    def better(self) -> dict[str, str]:
        """Which direction of a metric is better."""
        boards = self.results.board.datasets
        return better_directions(
            self.registry, list({metric for board in boards for metric, _ in board.overall_metrics})
        )

    def drawn(self, board: DatasetBoard) -> list[Entry]:
        """Return the entrants that figures of a dataset show: at most the best 24 that have any value."""
        known = {value.entrant for value in board.values if value.estimate.is_known}
        scored = [entry for entry in board.entries if entry.entrant in known and entry.entrant in self.styles]
        return scored[:MAX_DRAWN]


def board_charts(source: Source, board: DatasetBoard) -> list[Chart]:
    """Return the figures of PSNR, gain and deficit, against input PSNR; entrants listed at one level."""
    entries = source.drawn(board)
    psnr = [entry for entry in entries if board.estimate(entry.entrant, "psnr").is_known]
    if not psnr:
        return []
    baseline = source.results.baseline if board.is_known("gain_over_baseline") and len(psnr) > 1 else None
    if len(board.sigmas) < 2:
        names = {"psnr": "PSNR (dB)", "gain_over_baseline": f"gain over {baseline} (dB)"}
        known = [name for name in names if board.is_known(name)]
        return [_metric(source, board, (name, ""), names[name], "higher is better", 2) for name in known]
    return [_quantity(source, board, psnr, quantity, baseline) for quantity in quantities(board, psnr, baseline)]


def _quantity(
    source: Source, board: DatasetBoard, entries: Sequence[Entry], quantity: str, baseline: str | None
) -> Chart:
    look = (source.styles, source.names, baseline)
    figure, title = drawn(lambda ax: draw_quantity(ax, board, entries, quantity, *look))
    series = _series(source, board, entries, (quantity, ""), board.sigmas, quantity, 2)
    better = "lower is better" if quantity == "deficit" else "higher is better"
    return Chart(figure, title, series, _levels(board.sigmas), better, "dB")


def metric_charts(source: Source, board: DatasetBoard) -> list[Chart]:
    """Return the figures of the other metrics, and of their parts with a title."""
    charts = []
    for quantity in shown_metrics(board, source.titles)[:MAX_METRICS]:
        metric, part = quantity
        better = "" if part else source.better.get(metric, "")
        charts.append(_metric(source, board, quantity, panel_title(quantity, source.titles, {}, 60), better, 3))
    return charts


def _metric(source: Source, board: DatasetBoard, quantity: Quantity, title: str, better: str, digits: int) -> Chart:
    entries, levels = source.drawn(board), board.levels(*quantity)
    figure, _ = drawn(lambda ax: draw_metric(ax, board, entries, quantity, source.styles, source.names))
    series = _series(source, board, entries, quantity, levels if len(levels) > 1 else (), "metric", digits)
    return Chart(figure, title, series, _levels(levels) or [""], better)


def drawn(draw: Callable[[Axes], str | None]) -> tuple[Figure, str]:
    """Draw a figure of one pair of axes, and return it with the title that the function returns."""
    with figure_style():
        figure = Figure(figsize=_SIZE)
        return figure, draw(figure.add_axes(_FRAME)) or ""


def _series(
    source: Source,
    board: DatasetBoard,
    entries: Sequence[Entry],
    quantity: Quantity,
    levels: Sequence[float],
    prefix: str,
    digits: int,
) -> dict[str, Series]:
    """Return the values of the entrants that have any, at noise levels, or without levels their mean over levels."""
    series = {}
    for label in (entry.entrant for entry in entries if board.estimate(entry.entrant, *quantity).is_known):
        overall = board.estimate(label, *quantity)
        values = [board.estimate(label, *quantity, sigma=sigma) for sigma in levels] or [overall]
        x = input_psnr(levels).tolist() or [overall.value]
        texts = [value_text(value, digits) for value in values]
        series[f"{prefix}-{source.drawn_places[label]}"] = Series(label, x, texts, source.places[label])
    return series


def value_text(estimate: Interval, digits: int) -> str:
    """Return a value and, if they are known, the ends of its interval, with spaces between."""
    has_interval = not (math.isnan(estimate.low) or math.isnan(estimate.high))
    values = [estimate.value, estimate.low, estimate.high] if has_interval else [estimate.value]
    return " ".join(number(value, digits) for value in values)


def _levels(sigmas: Sequence[float]) -> list[str]:
    return [f"σ = {level_name(sigma)}" for sigma in sigmas]


def basis_charts(source: Source) -> dict[str, list[Chart]]:
    """Return a figure of the ranked bases for each entrant, by dataset; empty if no bases were compared."""
    try:
        found = rankings(source.results)
    except ResultsError:
        return {}
    charts: dict[str, list[Chart]] = {}
    for (dataset, entrant), rows in found.items():
        best = max(rows, key=lambda name: rows[name].ranked)
        title = f"{entrant}: closest to {best} ({rows[best].ranked:.2f})"
        charts.setdefault(dataset, []).append(Chart(ranking_figure({"": rows}), title))
    return charts


@dataclass(frozen=True, eq=False)
class Trained:
    """The networks that were trained on a dataset: their entrants, and figures of their training."""

    dataset: str
    entrants: Sequence[str]
    charts: Sequence[Chart]


def trainings(source: Source) -> list[Trained]:
    """Return the loss and the validation PSNR against steps, by dataset; empty if the folder has no units."""
    try:
        stored = histories(source.folder)
    except ResultsError:
        return []
    trained = []
    for dataset, of_dataset in stored.items():
        if fits := [fit for fit in of_dataset if source.has(dataset, fit[0].entrant)]:
            entrants = list(dict.fromkeys(fit.entrant for fit, _ in fits))
            figures = [_training_chart(source, fits, what) for what in ("loss", "psnr")]
            trained.append(Trained(dataset, entrants, figures))
    return trained


def _training_chart(source: Source, fits: Fits, what: str) -> Chart:
    is_loss = what == "loss"
    # Entrants have the colours of the other charts.
    colours = {label: style["color"] for label, style in source.styles.items()}
    figure, _ = drawn(lambda ax: (draw_loss if is_loss else draw_validation)(ax, fits, colours))
    has_seeds = len({(fit.seed, fit.split) for fit, _ in fits}) > 1
    series = {}
    for index, (fit, history) in enumerate(fits):
        values = history["loss"] if is_loss else validation_psnr(history)
        half = f", half {fit.split}" if fit.split else ""
        name = f"{fit.entrant}, seed {fit.seed}{half}" if has_seeds else fit.entrant
        known = np.isfinite(values)
        steps = history["step"][known]
        texts = [f"{value:.4g}" if is_loss else number(value) for value in values[known]]
        points = [f"step {step}" for step in steps]
        series[f"{what}-{index}"] = Series(name, steps.tolist(), texts, source.places.get(fit.entrant), points)
    if is_loss:
        return Chart(figure, "training loss", series, note="lower is better")
    return Chart(figure, "validation PSNR, mean over σ", series, note="higher is better", unit="dB")


@dataclass(frozen=True, eq=False)
class Sweep:
    """An entrant that was trained on several numbers of images of a dataset, and its figures."""

    dataset: str
    entrant: str
    charts: Sequence[Chart]


def sweeps(source: Source) -> list[Sweep]:
    """Return the figures of all entrants that were trained on several numbers of images."""
    try:
        pairs = swept(source.results)
    except ResultsError:
        return []
    return [Sweep(dataset, entrant, _sweep_charts(source, dataset, entrant)) for dataset, entrant in pairs]


def _sweep_charts(source: Source, dataset: str, entrant: str) -> list[Chart]:
    results = source.results
    curves = [(course(results, dataset, entrant, "psnr", split), split) for split in ("train", "test")]
    # A curve needs two noise levels.
    charts = [_against_noise(*both) for both in curves if any(len(points) > 1 for points in both[0].values())]
    nulls = dict(zip(results.metrics["metric"], results.metrics["null"], strict=True))
    for metric in transition_metrics(results, dataset, entrant):
        if values := course(results, dataset, entrant, metric):
            null = course(results, dataset, entrant, nulls[metric]) if nulls.get(metric) else {}
            charts.append(_against_number(source, metric, values, null))
    return charts


def _against_noise(curves: SweepCurves, split: str) -> Chart:
    """Return the PSNR against input PSNR, a curve for each number of images."""
    styles = number_styles(numbers_of([curves]))
    figure, _ = drawn(lambda ax: _with_legend(ax, lambda: draw_course(ax, curves, styles)))
    series = {}
    for index, (images, points) in enumerate(curves.items()):
        levels = sorted(points)
        texts = [value_text(points[sigma], 2) for sigma in levels]
        series[f"number-{index}"] = Series(
            number_label(images), input_psnr(levels).tolist(), texts, None, _levels(levels)
        )
    what = "training" if split == "train" else split
    return Chart(figure, f"output PSNR on {what} images, by number of training images", series, unit="dB")


def _against_number(source: Source, metric: str, curves: SweepCurves, null: SweepCurves) -> Chart:
    places = number_positions(numbers_of([curves]))
    levels = dict(sorted(by_level(curves, places).items()))
    styles = level_styles([sigma for sigma in levels if sigma])
    figure, _ = drawn(lambda ax: _with_legend(ax, lambda: draw_transition(ax, curves, null, places, styles)))
    labels = {place: number_label(images) for images, place in places.items()}
    series = {}
    for index, (sigma, values) in enumerate(levels.items()):
        x, texts = [place for place, _ in values], [value_text(point, 3) for _, point in values]
        series[f"level-{index}"] = Series(level_label(sigma), x, texts, None, [labels[place] for place in x])
    note = ", ".join(filter(None, [source.better.get(metric, ""), "dotted: by chance" if null else ""]))
    return Chart(figure, source.titles.get(metric) or metric, series, note=note)


def _with_legend(ax: Axes, draw: Callable[[], None]) -> None:
    """Draw, and name the curves within the axes, which are few."""
    draw()
    ax.legend(fontsize=6.5, ncols=2, frameon=False, handlelength=1.8, columnspacing=1.0)
