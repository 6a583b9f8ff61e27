"""Charts of a page: board, metrics, training and sweeps, and the source that they are drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from gahbench._util.errors import GahbenchError, ResultsError
from gahbench._util.readable import level_name
from gahbench.board.board import DatasetBoard, Entry
from gahbench.board.facts import entrant_kinds
from gahbench.board.folds import pooled_names
from gahbench.board.results import Results
from gahbench.board.statistics import Interval
from gahbench.evaluation.rates import input_psnr
from gahbench.registry.registry import Registry
from gahbench.report.cells import fold_label, number
from gahbench.report.drawing import EndLabel, Styles, figure_style, highlighted_styles, is_muted, label_ends
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
from gahbench.report.finding import shorten
from gahbench.report.heat_map import heat_map
from gahbench.report.page.svg import Chart, Series
from gahbench.report.training import (
    Fits,
    draw_loss,
    draw_validation,
    histories,
    validation_psnr,
)
from gahbench.store.plan_file import RecordedPlan, read_plan

_SIZE = (4.4, 3.2)  # inches
#: Left, bottom, width and height of the axes, fixed since computing a layout would take most of the time of a page.
_AXES_BOX = (0.135, 0.15, 0.85, 0.83)
#: The same for figures with labels at the ends of curves, whose lines have a number of characters.
_LABELLED_SIZE = (5.1, 3.2)
_LABELLED_BOX = (0.11, 0.15, 0.59, 0.83)
_LABEL_WIDTH = 25
#: The number of highlighted entrants of a page, which have colours.
MAX_HIGHLIGHTS = 6
#: Lists of at most this number of entrants name them all.
_MAX_LABELS = 16
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
    def plan(self) -> RecordedPlan | None:
        """The plan of the folder; ``None`` if it has no valid plan."""
        try:
            return read_plan(self.folder)
        except GahbenchError:
            return None

    @cached_property
    def _datasets(self) -> frozenset[str]:
        """The datasets of the board, and the folds that it shows as one dataset."""
        shown = set(self.results.datasets["dataset"])
        pooled = {} if self.plan is None else pooled_names(self.plan.dataset_specs)
        return frozenset(shown | {fold for fold, name in pooled.items() if name in shown})

    def is_on_board(self, dataset: str, entrant: str) -> bool:
        """Return whether the board has a row; the plan of the folder may have changed after the board was written."""
        return entrant in self.indices and dataset in self._datasets

    @cached_property
    def styles(self) -> Styles:
        """The plot style of each entrant that was trained or scored; up to six have a colour."""
        return highlighted_styles(self.results.entrants, entrant_kinds(self.results), self.highlights)

    @cached_property
    def highlights(self) -> list[str]:
        """The highlighted entrants: those that are first alone on any dataset, and the best by mean gain."""
        rows = heat_map(self.results).rows
        first = [row.entrant for row in rows if any(cell.is_first for cell in row.cells)]
        return list(dict.fromkeys([*first, *(row.entrant for row in rows)]))[:MAX_HIGHLIGHTS]

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
    # The gain comes first: differences of PSNR are small beside its range.
    shown = sorted(quantities(board, psnr, baseline), key=_ORDER.index)
    return [_quantity_chart(source, board, psnr, quantity, baseline) for quantity in shown]


_ORDER = ("gain_over_baseline", "deficit", "psnr")


def _end_labels(
    source: Source, board: DatasetBoard, entries: Sequence[Entry], quantity: Quantity, levels: Sequence[float]
) -> list[EndLabel]:
    """Return the labels of highlighted entrants, and of the optimum, at the lowest noise level where they are known."""
    labels = []
    for entry in entries:
        style, prefix = source.styles[entry.entrant], "metric" if quantity[0] not in _ORDER else quantity[0]
        values = [board.estimate(entry.entrant, *quantity, sigma=sigma).value for sigma in levels]
        known = [value for value in values if math.isfinite(value)]
        if known and not is_muted(style):
            text = fold_label(shorten(source.results.names.entrant(entry.entrant)), _LABEL_WIDTH)
            gid = f"{prefix}-{source.style_indices[entry.entrant]}"
            labels.append(EndLabel(text, known[0], to_hex(style["color"]), gid))
    return labels


def _row_labels(source: Source, board: DatasetBoard, entries: Sequence[Entry], quantity: Quantity) -> list[EndLabel]:
    """Return the labels of the rows of a list of entrants: of all, or of highlighted entrants if there are many."""
    known = [entry.entrant for entry in entries if board.estimate(entry.entrant, *quantity).is_known]
    return [
        EndLabel(
            shorten(source.results.names.entrant(label), _LABEL_WIDTH),
            float(row),
            to_hex(source.styles[label]["color"]),
            f"metric-{source.style_indices[label]}",
        )
        for row, label in enumerate(known)
        if len(known) <= _MAX_LABELS or not is_muted(source.styles[label])
    ]


def _quantity_chart(
    source: Source, board: DatasetBoard, entries: Sequence[Entry], quantity: str, baseline: str | None
) -> Chart:
    look = (source.styles, source.curve_names, baseline)
    labels = _end_labels(source, board, entries, (quantity, ""), board.sigmas)

    def draw(ax: Axes) -> str:
        title = draw_quantity(ax, board, entries, quantity, *look)
        label_ends(ax, labels)
        return title

    figure, title = draw_figure(draw, is_labelled=True)
    series = _series(source, board, entries, (quantity, ""), board.sigmas, quantity, 2)
    better = "lower is better" if quantity == "deficit" else "higher is better"
    return Chart(figure, title, series, level_labels(board.sigmas), better, "dB")


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
    is_list = len(levels) < 2
    labels = (
        _row_labels(source, board, entries, quantity)
        if is_list
        else _end_labels(source, board, entries, quantity, levels)
    )

    def draw(ax: Axes) -> None:
        draw_metric(ax, board, entries, quantity, source.styles, source.curve_names)
        label_ends(ax, labels)

    figure, _ = draw_figure(draw, is_labelled=True)
    series = _series(source, board, entries, quantity, levels if len(levels) > 1 else (), "metric", digits)
    return Chart(figure, title, series, level_labels(levels) or [""], better)


def draw_figure(draw: Callable[[Axes], str | None], *, is_labelled: bool = False) -> tuple[Figure, str]:
    """Draw a figure with one set of axes, and return it with the title that ``draw`` returns."""
    with figure_style():
        figure = Figure(figsize=_LABELLED_SIZE if is_labelled else _SIZE)
        return figure, draw(figure.add_axes(_LABELLED_BOX if is_labelled else _AXES_BOX)) or ""


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


def level_labels(sigmas: Sequence[float]) -> list[str]:
    """Return the labels of points at noise levels."""
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
