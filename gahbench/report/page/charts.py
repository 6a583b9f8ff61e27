"""Figures of the board of a dataset, one for each value: PSNR, gain, deficit, every metric, and ranked bases."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gahbench._util.errors import ResultsError
from gahbench._util.readable import level_name
from gahbench.board.alignments import rankings
from gahbench.board.board import DatasetBoard, Entry
from gahbench.board.statistics import Estimate
from gahbench.report.alignments import ranking_figure
from gahbench.report.cells import number
from gahbench.report.drawing import context
from gahbench.report.figures import draw_metric, draw_quantity, panel_title, quantities, shown_metrics
from gahbench.report.page.source import Source
from gahbench.report.page.svg import Chart, Series

_SIZE = (4.4, 3.2)  # inches
#: Left, bottom, width and height of the axes: a layout that is computed takes longer than all else.
_FRAME = (0.135, 0.15, 0.85, 0.83)
#: Figures of metrics of one dataset.
MAX_METRICS = 24


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
    known = [entry.entrant for entry in entries if board.estimate(entry.entrant, quantity).is_known]
    series = _series(source, board, known, (quantity, ""), board.sigmas, quantity, 2)
    better = "lower is better" if quantity == "deficit" else "higher is better"
    return Chart(figure, title, series, _levels(board.sigmas), better, "dB")


def metric_charts(source: Source, board: DatasetBoard) -> list[Chart]:
    """Return the figures of the other metrics, of parts those that have a title."""
    chosen = shown_metrics(board, source.titles)[:MAX_METRICS]
    better = {of: source.better.get(of[0], "") if not of[1] else "" for of in chosen}
    return [_metric(source, board, of, panel_title(of, source.titles, {}, 60), better[of], 3) for of in chosen]


def _metric(source: Source, board: DatasetBoard, of: tuple[str, str], title: str, better: str, digits: int) -> Chart:
    entries = source.drawn(board)
    figure, _ = drawn(lambda ax: draw_metric(ax, board, entries, of, source.styles, source.names))
    known = [entry.entrant for entry in entries if board.estimate(entry.entrant, *of).is_known]
    levels = board.levels(*of)
    if len(levels) > 1:
        series = _series(source, board, known, of, levels, "metric", digits)
        return Chart(figure, title, series, _levels(levels), better)
    series = {
        f"metric-{source.drawn_places[entrant]}": Series(
            entrant, [found.value], [value_text(found, digits)], source.places[entrant]
        )
        for entrant in known
        for found in [board.estimate(entrant, *of)]
    }
    return Chart(figure, title, series, [f"σ = {level_name(levels[0])}" if levels else ""], better)


def drawn(draw: Callable[[Axes], str | None]) -> tuple[Figure, str]:
    """Draw a figure of one pair of axes, and return it with what the function says of it."""
    with context():
        figure = Figure(figsize=_SIZE)
        return figure, draw(figure.add_axes(_FRAME)) or ""


def _series(
    source: Source,
    board: DatasetBoard,
    entrants: Sequence[str],
    of: tuple[str, str],
    levels: Sequence[float],
    prefix: str,
    digits: int,
) -> dict[str, Series]:
    from gahbench.evaluation.rates import input_psnr

    x = [float(value) for value in input_psnr(levels)]
    return {
        f"{prefix}-{source.drawn_places[entrant]}": Series(
            entrant,
            x,
            [value_text(board.estimate(entrant, *of, sigma=sigma), digits) for sigma in levels],
            source.places[entrant],
        )
        for entrant in entrants
    }


def value_text(found: Estimate, digits: int) -> str:
    """Return a value and, where they are known, the ends of its interval, with spaces between."""
    known = [found.value] if math.isnan(found.low) or math.isnan(found.high) else [found.value, found.low, found.high]
    return " ".join(number(value, digits) for value in known)


def _levels(sigmas: Sequence[float]) -> list[str]:
    return [f"σ = {level_name(sigma)}" for sigma in sigmas]


def basis_charts(source: Source) -> dict[str, list[Chart]]:
    """Return a figure of the ranked bases for each entrant, by dataset; nothing where none was compared."""
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
