"""Figures of a dataset: PSNR, gain and deficit against input PSNR, and other metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from gahbench._util.errors import GahbenchError, ParameterError, ResultsError, listing, suggestion
from gahbench._util.readable import level_name
from gahbench.board.board import Board, DatasetBoard, Entry
from gahbench.board.display_names import DisplayNames
from gahbench.board.facts import entrant_kinds
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.selection import choose_labels
from gahbench.board.statistics import Interval
from gahbench.evaluation.rates import input_psnr
from gahbench.registry.registry import Registry
from gahbench.report.cells import file_stems, fold_label
from gahbench.report.drawing import (
    GREY,
    ShownFigure,
    Styles,
    add_caption,
    add_legend,
    create_panels,
    draw_curve,
    encode,
    entrant_styles,
    figure_style,
    grid_shape,
    is_muted,
    split_intervals,
)

if TYPE_CHECKING:
    from gahbench.board.tables import Tables

_BEYOND_SHADE = "0.94"
_OPTIMA = ("optimal", "bound")
_MAX_DEFICIT = 20.0  # dB; larger deficits are outside the panel, but in the tables
_LABEL_WIDTH = 28  # characters in a line of the legend
_BETTER = {True: "higher is better", False: "lower is better", None: ""}
#: A metric and its part.
Quantity = tuple[str, str]


def render_figures(results: Tables, board: Board) -> Iterator[tuple[str, bytes]]:
    """Yield the file name and the content of each figure, as PNG and as SVG; equal boards give equal bytes."""
    stems = file_stems([dataset_board.dataset for dataset_board in board.datasets])
    for dataset_board in board.datasets:
        if (drawing := figure(dataset_board, results.entrants, results.baseline, results.names)) is not None:
            for suffix in (".png", ".svg"):
                yield (
                    f"{stems[dataset_board.dataset]}{suffix}",
                    encode(drawing, suffix, bbox_inches="tight", pad_inches=0.06),
                )


def figure(
    board: DatasetBoard, entrants: Sequence[str], baseline: str | None = None, names: DisplayNames | None = None
) -> Figure | None:
    """Draw the figure of a dataset; return ``None`` if no entrant has a PSNR."""
    if not board.sigmas:
        return None
    scored = [
        entry
        for entry in board.entries
        if any(board.estimate(entry.entrant, "psnr", sigma=sigma).is_known for sigma in board.sigmas)
    ]
    shown_baseline = baseline if board.is_known("gain_over_baseline") and len(scored) > 1 else None
    draw = _draw_dots if len(board.sigmas) == 1 else _draw_curves
    with figure_style():
        styles = entrant_styles(entrants, {entry.entrant: entry.kind for entry in scored})
        return draw(board, scored, shown_baseline, styles, names or DisplayNames())


def _draw_curves(
    board: DatasetBoard, entries: Sequence[Entry], baseline: str | None, styles: Styles, names: DisplayNames
) -> Figure:
    """Draw PSNR, gain over the baseline and deficit, as far as they are known, against input PSNR."""
    panel_quantities = quantities(board, entries, baseline)
    labels = {entrant: fold_label(names.entrant(entrant), _LABEL_WIDTH) for entrant in styles}
    baseline = None if baseline is None else names.entrant(baseline)
    lines = [line for label in labels.values() for line in label.split("\n")]
    # The width is in inches, for the font of the legend, so that the panels do not shrink if labels are long.
    legend_width = 0.65 + 0.07 * max(map(len, lines))
    size = (3.6 * len(panel_quantities) + legend_width, max(3.6, 0.185 * len(lines) + 0.4))
    drawing, axes = create_panels(len(panel_quantities), (1, len(panel_quantities)), size, ShownFigure)
    for ax, quantity in zip(axes, panel_quantities, strict=True):
        ax.set_title(draw_quantity(ax, board, entries, quantity, styles, labels, baseline), loc="left")
    axes[0].set_title(names.dataset(board.dataset), loc="left")
    add_legend(drawing, axes)
    return drawing


def quantities(board: DatasetBoard, entries: Sequence[Entry], baseline: str | None) -> list[str]:
    """Return the quantities that are drawn against input PSNR: PSNR, and gain and deficit if they are known."""
    # The optimum itself has no deficit.
    has_deficits = any(board.estimate(entry.entrant, "deficit").is_known for entry in entries)
    return ["psnr"] + ["gain_over_baseline"] * (baseline is not None) + ["deficit"] * has_deficits


def draw_quantity(
    ax: Axes,
    board: DatasetBoard,
    entries: Sequence[Entry],
    quantity: str,
    styles: Styles,
    labels: Mapping[str, str],
    baseline: str | None,
) -> str:
    """Draw a quantity (:func:`quantities`) against input PSNR, and return its title."""
    ax.set_xlabel("input PSNR (dB)")
    if quantity == "deficit":
        compared = [entry for entry in entries if board.estimate(entry.entrant, "deficit").is_known]
        kind = next((entry.kind for entry in board.entries if entry.kind in _OPTIMA), "optimal")
        return _draw_deficits(ax, board, compared, styles, labels, kind)
    if quantity == "gain_over_baseline":
        ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
        draw_entrants(ax, board, entries, quantity, styles, labels)
        ax.set_ylabel("gain (dB)")
        _limit_losses(ax)
        return f"gain over {fold_label(str(baseline), 34)}"
    draw_entrants(ax, board, entries, quantity, styles, labels)
    _draw_reference_lines(ax, board, entries)
    ax.set_ylabel("output PSNR (dB)")
    return "output PSNR"


def _at_levels(board: DatasetBoard, entrant: str, quantity: str) -> list[Interval]:
    return [board.estimate(entrant, quantity, sigma=sigma) for sigma in board.sigmas]


def draw_entrants(
    ax: Axes, board: DatasetBoard, entries: Sequence[Entry], quantity: str, styles: Styles, labels: Mapping[str, str]
) -> None:
    """Draw a quantity against input PSNR, a curve for each entrant, whose ``id`` in an SVG is ``QUANTITY-INDEX``."""
    x, style_order = input_psnr(board.sigmas), list(styles)
    for rank, entry in enumerate(entries):
        curve = split_intervals(_at_levels(board, entry.entrant, quantity))
        style = styles[entry.entrant]
        # The best entrant is drawn on top, as in the legend.
        zorder = (2.5 if is_muted(style) else 3) + 0.01 * (len(entries) - rank)
        gid = f"{quantity}-{style_order.index(entry.entrant)}"
        has_band = _has_bands(board) and not is_muted(style)
        draw_curve(ax, x, curve, labels[entry.entrant], style, zorder, gid, has_band=has_band)


def _has_bands(board: DatasetBoard) -> bool:
    """Return whether intervals describe other images, which those of a few sources do not."""
    return not board.source_parts


def _draw_deficits(
    ax: Axes, board: DatasetBoard, entries: Sequence[Entry], styles: Styles, labels: Mapping[str, str], kind: str
) -> str:
    """Draw the deficits from the optimum, the smallest at the top, and return the title; large deficits are cut off."""
    draw_entrants(ax, board, entries, "deficit", styles, labels)
    values = np.array([split_intervals(_at_levels(board, entry.entrant, "deficit"))[0] for entry in entries])
    lowest = min(0.0, float(np.nanmin(values)))
    # The axis has a height even if no deficit is above 0.
    highest = max(min(float(np.nanmax(values)), _MAX_DEFICIT), lowest + 1)
    margin = 0.06 * (highest - lowest)
    ax.set_ylim(highest + margin, lowest - margin)
    ax.axhspan(lowest - margin, 0, color=_BEYOND_SHADE, linewidth=0, zorder=0)
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    ax.set_ylabel("deficit (dB)")
    return "deficit from the optimum" if kind == "optimal" else "deficit from the bound (at most)"


def _limit_losses(ax: Axes) -> None:
    """Cut off curves far below the baseline, with a note; the panel of PSNR shows all curves."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in ax.get_lines()])
    lowest, highest = float(np.nanmin(values)), float(np.nanmax(values))
    floor = -max(4.0, 1.5 * highest)
    if lowest < floor - 1:
        # The interval bands reach above the curves.
        top = max([highest, *(float(band.get_datalim(ax.transData).y1) for band in ax.collections)])
        ax.set_ylim(floor, top + 0.05 * (top - floor))
        text = f"cut below; lowest: {lowest:.1f} dB".replace("-", "−")
        # Losses are smallest at low noise, on the right, where cut curves enter the panel; the left corner is free.
        ax.text(0.02, 0.02, text, fontsize=7, color=GREY, transform=ax.transAxes, ha="left", va="bottom")


def _draw_reference_lines(ax: Axes, board: DatasetBoard, entries: Sequence[Entry]) -> None:
    """Draw the line output = input and, just above the best curve, a line of the optimal slope."""
    x = input_psnr(board.sigmas)
    span = np.array([x.min(), x.max()])
    ax.plot(span, span, color="0.7", linewidth=0.8, zorder=1)
    _write_along_line(ax, float(span[0] + 0.3 * np.ptp(span)), 1.0, 0.0, "output = input", below=True)
    slope = entries[0].optimal_slope
    if np.isnan(slope):
        return
    curves = np.array([split_intervals(_at_levels(board, entry.entrant, "psnr"))[0] for entry in entries])
    intercept = float(np.nanmax(curves - slope * x)) + 0.05 * float(np.ptp(x))
    ax.plot(span, intercept + slope * span, color=GREY, linewidth=1, zorder=1)
    _write_along_line(ax, float(span[0] + 0.4 * np.ptp(span)), slope, intercept, f"optimal slope {slope:.2f}")


def _write_along_line(ax: Axes, x: float, slope: float, intercept: float, text: str, below: bool = False) -> None:
    """Write text along a line of a panel, above or below the line."""
    ax.text(
        x,
        slope * x + intercept,
        text,
        transform=offset_copy(ax.transData, fig=ax.get_figure(root=True), x=0, y=-3 if below else 2, units="points"),
        rotation=float(np.degrees(np.arctan(slope))),
        rotation_mode="anchor",
        transform_rotates_text=True,
        ha="center",
        va="top" if below else "bottom",
        fontsize=7.5,
        color=GREY,
    )


def _draw_dots(
    board: DatasetBoard, entries: Sequence[Entry], baseline: str | None, styles: Styles, names: DisplayNames
) -> Figure:
    """Draw PSNR and gain over the baseline at a single noise level, with the entrants listed from best to worst."""
    count = 1 if baseline is None else 2
    labels = [fold_label(names.entrant(entry.entrant), _LABEL_WIDTH) for entry in entries]
    lines = [line for label in labels for line in label.split("\n")]
    size = (2.9 * count + 0.3 + 0.08 * max(map(len, lines)), 0.9 + 0.27 * max(len(lines), 3))
    drawing, axes = create_panels(count, (1, count), size, ShownFigure, sharey=True)
    for ax, name in zip(axes, ("psnr", "gain_over_baseline"), strict=False):
        for row, entry in enumerate(entries):
            style, value = styles[entry.entrant], board.estimate(entry.entrant, name)
            ax.plot([value.low, value.high], [row, row], color=style["color"], linewidth=1.3, zorder=2)
            ax.plot(value.value, row, zorder=3, **style)
        ax.grid(axis="x", visible=False)
        ax.margins(x=0.08)
    (sigma,) = board.sigmas
    noisy = float(input_psnr(sigma))
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].set_ylim(len(labels) - 0.4, -0.6)
    axes[0].set_xlabel(f"PSNR (dB), noisy: {noisy:.2f}")
    axes[0].set_title(f"{names.dataset(board.dataset)}, σ = {level_name(sigma)}", loc="left")
    if baseline is not None:
        axes[1].axvline(0, color=GREY, linewidth=0.8, zorder=1)
        axes[1].set_xlabel("gain (dB)")
        axes[1].set_title(f"gain over {fold_label(names.entrant(baseline), 28)}", loc="left")
    return drawing


def shown_metrics(board: DatasetBoard, titles: Mapping[str, str]) -> list[Quantity]:
    """Return the metrics other than the PSNR, and their parts with a title, for which any entrant has a value."""
    return [quantity for quantity in board.overall_metrics if not quantity[1] or _quantity_name(quantity) in titles]


def metric_titles(results: Tables) -> dict[str, str]:
    """Return the titles of metrics and of their parts, by name in the table of scores."""
    return dict(zip(map(str, results.metrics["metric"]), map(str, results.metrics["title"]), strict=True))


def better_directions(registry: Registry, metrics: Sequence[str]) -> dict[str, str]:
    """Return ``higher is better``, ``lower is better`` or an empty string for each label of a metric."""
    better = dict.fromkeys(metrics, "")
    for label in metrics:
        with suppress(GahbenchError):
            if plugin := registry.find("metric", parse_metric_name(label).name):
                better[label] = _BETTER[plugin.factory.higher_is_better]
    return better


def draw_metric(
    ax: Axes,
    board: DatasetBoard,
    entries: Sequence[Entry],
    quantity: Quantity,
    styles: Styles,
    labels: Mapping[str, str],
) -> None:
    """Draw a metric: curves against input PSNR, or a list of entrants if there are fewer than two noise levels."""
    levels, style_order = board.levels(*quantity), list(styles)
    known = [entry.entrant for entry in entries if board.estimate(entry.entrant, *quantity).is_known]
    for row, label in enumerate(known):
        gid, style = f"metric-{style_order.index(label)}", styles[label]
        if len(levels) > 1:
            curve = split_intervals([board.estimate(label, *quantity, sigma=sigma) for sigma in levels])
            has_band, zorder = _has_bands(board) and not is_muted(style), 2.5 if is_muted(style) else 3
            draw_curve(ax, input_psnr(levels), curve, labels[label], style, zorder, gid, has_band=has_band)
        else:
            value, band = board.estimate(label, *quantity), f"{gid}-band"
            ax.plot([value.low, value.high], [row, row], color=style["color"], linewidth=1.3, zorder=2, gid=band)
            ax.plot(value.value, row, zorder=3, gid=gid, label=labels[label], **style)
    if len(levels) > 1:
        ax.set_xlabel("input PSNR (dB)")
        return
    ax.set_yticks([])
    ax.set_ylim(max(len(known), 3) - 0.4, -0.6)
    ax.margins(x=0.08)
    if levels:
        ax.set_xlabel(f"at σ = {level_name(levels[0])}")


def metrics_figure(results: Tables, board: DatasetBoard, registry: Registry, metrics: Sequence[str] = ()) -> Figure:
    """Draw metrics of a dataset, a panel for each metric, whose title says whether higher or lower is better."""
    titles = metric_titles(results)
    chosen = _choose_metrics(board, titles, metrics)
    entries = [
        entry
        for entry in board.entries
        if any(board.estimate(entry.entrant, *quantity).is_known for quantity in chosen)
    ]
    better = better_directions(registry, [metric for metric, _ in chosen])
    rows, columns = grid_shape(len(chosen), 3)
    labels = {entry.entrant: fold_label(results.names.entrant(entry.entrant), _LABEL_WIDTH) for entry in entries}
    lines = sum(label.count("\n") + 1 for label in labels.values())
    size = (3.3 * columns + 2.6, max(2.9 * rows, 0.185 * lines) + 0.4)
    with figure_style():
        styles = entrant_styles(results.entrants, entrant_kinds(results))
        drawing, axes = create_panels(len(chosen), (rows, columns), size, ShownFigure)
        for ax, quantity in zip(axes, chosen, strict=True):
            draw_metric(ax, board, entries, quantity, styles, labels)
            ax.set_title(panel_title(quantity, titles, better), loc="left")
        add_caption(drawing, results.names.dataset(board.dataset))
        add_legend(drawing, axes)
    return drawing


def panel_title(quantity: Quantity, titles: Mapping[str, str], better: Mapping[str, str], width: int = 42) -> str:
    """Return the title of a metric, with ``higher is better`` or ``lower is better`` below it unless it is a part."""
    title = fold_label(titles.get(_quantity_name(quantity)) or _quantity_name(quantity), width)
    return f"{title}\n{better[quantity[0]]}" if not quantity[1] and better.get(quantity[0]) else title


def _choose_metrics(board: DatasetBoard, titles: Mapping[str, str], metrics: Sequence[str]) -> list[Quantity]:
    known = {_quantity_name(quantity): quantity for quantity in board.overall_metrics}
    for metric in metrics:
        if metric not in known:
            near = suggestion(metric, known) or ";"
            raise ParameterError(f"no values of '{metric}'{near} {board.dataset} has {listing(known) or 'none'}")
    chosen = [known[metric] for metric in metrics] or shown_metrics(board, titles)
    if not chosen:
        raise ParameterError(f"{board.dataset} has no metric other than the PSNR, which the figures of the board show")
    return chosen


def _quantity_name(quantity: Quantity) -> str:
    return ".".join(filter(None, quantity))


def draw_board(results: Tables, board: Board, dataset: str | None = None, metrics: Sequence[str] = ()) -> Figure:
    """Draw the figure of a dataset, or the chosen metrics, for :meth:`gahbench.Results.figure`."""
    boards = {dataset_board.dataset: dataset_board for dataset_board in board.datasets}
    labels = choose_labels(None if dataset is None else [dataset], boards, "dataset")
    if len(labels) != 1:
        problem = "no dataset is named" if dataset is None else f"'{dataset}' names {len(labels)} datasets"
        raise ParameterError(f"{problem}; expected one of {listing(boards) or 'none: the results are empty'}")
    (label,) = labels
    if metrics:
        return metrics_figure(results, boards[label], Registry(), [metrics] if isinstance(metrics, str) else metrics)
    drawing = figure(boards[label], results.entrants, results.baseline, results.names)
    if drawing is None:
        raise ResultsError(f"no entrant has a PSNR on {label}; expected results with scores")
    return drawing
