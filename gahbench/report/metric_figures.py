"""A figure of any metric, which says which direction is better: against input PSNR, or listed at one noise level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gahbench._util.errors import GahbenchError, ParameterError, listing, suggestion
from gahbench._util.readable import level_name
from gahbench.board.board import DatasetBoard, Entry
from gahbench.board.facts import entrant_kinds
from gahbench.board.metric_names import parse_metric_name
from gahbench.evaluation.rates import input_psnr
from gahbench.report.cells import folded
from gahbench.report.figures import (
    Styles,
    bands,
    caption_above,
    context,
    curve_with_band,
    grid_shape,
    legend_beside,
    looks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gahbench.board.results import Results
    from gahbench.registry.registry import Registry

_ABREAST = 3
_LABEL = 28
_WORDS = {True: "higher is better", False: "lower is better", None: ""}
#: A metric and its part.
Quantity = tuple[str, str]


def shown_metrics(board: DatasetBoard, titles: Mapping[str, str]) -> list[Quantity]:
    """Return the metrics but the PSNR, and the parts of them that have a title, of which any entrant has a value."""
    return [of for of in board.overall_metrics if not of[1] or _name(of) in titles]


def metric_titles(results: Results) -> dict[str, str]:
    """Return the titles of metrics and of their parts, by their names in the scores."""
    return dict(zip(map(str, results.metrics["metric"]), map(str, results.metrics["title"]), strict=True))


def directions(registry: Registry, metrics: Sequence[str]) -> dict[str, str]:
    """Return which direction is better, in words, by the labels of metrics; empty where neither or none is known."""
    found = {}
    for label in metrics:
        name = parse_metric_name(label).name
        try:
            plugin = registry.find("metric", name)
            found[label] = "" if plugin is None else _WORDS[plugin.factory.higher_is_better]
        except GahbenchError:
            found[label] = ""
    return found


def draw_metric(
    ax: Axes, board: DatasetBoard, entries: Sequence[Entry], of: Quantity, styles: Styles, labels: Mapping[str, str]
) -> None:
    """Draw one metric of one dataset."""
    levels = board.levels(*of)
    known = [entry for entry in entries if board.estimate(entry.entrant, *of).is_known]
    places = {entrant: place for place, entrant in enumerate(styles)}
    if len(levels) > 1:
        for entry in known:
            curve = bands([board.estimate(entry.entrant, *of, sigma=sigma) for sigma in levels])
            gid = f"metric-{places[entry.entrant]}"
            curve_with_band(ax, input_psnr(levels), curve, labels[entry.entrant], styles[entry.entrant], gid=gid)
        ax.set_xlabel("input PSNR (dB)")
        return
    for row, entry in enumerate(known):
        found, style = board.estimate(entry.entrant, *of), styles[entry.entrant]
        gid = f"metric-{places[entry.entrant]}"
        ax.plot([found.low, found.high], [row, row], color=style["color"], linewidth=1.3, zorder=2, gid=f"{gid}-band")
        ax.plot(found.value, row, zorder=3, gid=gid, label=labels[entry.entrant], **style)
    ax.set_yticks([])
    ax.set_ylim(max(len(known), 3) - 0.4, -0.6)
    ax.margins(x=0.08)
    if levels:
        ax.set_xlabel(f"at σ = {level_name(levels[0])}")


def metrics_figure(results: Results, dataset: str, registry: Registry, metrics: Sequence[str] = ()) -> Figure:
    """Draw metrics of a dataset, a panel for each, which says which direction is better."""
    from gahbench.report.shown import ShownFigure

    board, titles = results.board.of(dataset), metric_titles(results)
    chosen = _chosen(board, titles, metrics)
    entries = [entry for entry in board.entries if any(board.estimate(entry.entrant, *of).is_known for of in chosen)]
    better = directions(registry, [metric for metric, _ in chosen])
    rows, abreast = grid_shape(len(chosen), _ABREAST)
    with context():
        styles = looks(results.entrants, entrant_kinds(results))
        labels = {entry.entrant: folded(entry.entrant, _LABEL) for entry in entries}
        lines = sum(label.count("\n") + 1 for label in labels.values())
        drawing = ShownFigure(figsize=(3.3 * abreast + 2.6, max(2.9 * rows, 0.185 * lines) + 0.4), layout="constrained")
        axes = list(drawing.subplots(rows, abreast, squeeze=False).flat)
        for ax, of in zip(axes, chosen, strict=False):
            draw_metric(ax, board, entries, of, styles, labels)
            ax.set_title(panel_title(of, titles, better), loc="left")
        for ax in axes[len(chosen) :]:
            ax.set_visible(False)
        caption_above(drawing, dataset)
        legend_beside(drawing, axes[: len(chosen)])
    return drawing


def panel_title(of: Quantity, titles: Mapping[str, str], better: Mapping[str, str], width: int = 42) -> str:
    """Return what a metric is, and below it which direction is better; of parts nothing is known."""
    title = folded(titles.get(_name(of)) or _name(of), width)
    return f"{title}\n{better[of[0]]}" if not of[1] and better.get(of[0]) else title


def _chosen(board: DatasetBoard, titles: Mapping[str, str], metrics: Sequence[str]) -> list[Quantity]:
    known = {_name(of): of for of in board.overall_metrics}
    for metric in metrics:
        if metric not in known:
            there = suggestion(metric, known) or ";"
            raise ParameterError(f"no values of '{metric}'{there} {board.dataset} has {listing(known) or 'none'}")
    chosen = [known[metric] for metric in metrics] or shown_metrics(board, titles)
    if not chosen:
        raise ParameterError(f"{board.dataset} has no metric but the PSNR, which is in the figures of the board")
    return chosen


def _name(of: Quantity) -> str:
    return f"{of[0]}.{of[1]}" if of[1] else of[0]
