"""Charts of entrants that were trained on several numbers of images: small panels on shared scales."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from gahbench._util.errors import ResultsError
from gahbench.board.facts import entrant_kinds
from gahbench.board.generalization import SweepCurves, find_sweeps, sweep_curves
from gahbench.contracts.row_labels import base_label
from gahbench.evaluation.rates import input_psnr
from gahbench.report.drawing import EndLabel, figure_style, label_ends
from gahbench.report.page.charts import Source, draw_figure, level_labels, value_text
from gahbench.report.page.svg import Chart, Series, key_drawing
from gahbench.report.training import (
    draw_sweep_curves,
    draw_transition,
    group_by_level,
    level_label,
    level_styles,
    number_label,
    number_positions,
    number_styles,
    numbers_of,
    shared_limits,
    transition_metrics,
)

_PANEL_SIZE = (2.7, 1.9)  # inches
_PANEL_BOX = (0.16, 0.2, 0.81, 0.75)


@dataclass(frozen=True, eq=False)
class SweepCharts:
    """Charts of an entrant that was trained on several numbers of images of a dataset.

    ``charts`` show the PSNR against the noise, and ``panels`` all metrics against the number of images; ``keys`` are
    the drawings and labels of the noise levels in the panels.
    """

    dataset: str
    entrant: str
    is_trained: bool
    charts: Sequence[Chart]
    panels: Sequence[Chart]
    keys: Sequence[tuple[Markup, str]]


@dataclass(frozen=True, eq=False)
class _Sweep:
    dataset: str
    entrant: str
    curves: Mapping[str, SweepCurves]


def sweep_charts(source: Source) -> list[SweepCharts]:
    """Return charts of each entrant that was trained on several numbers of images; trained entrants come first."""
    results = source.results
    try:
        pairs = find_sweeps(results)
    except ResultsError:
        return []
    # Chance levels, and the metrics that charts against noise show, are curves of the panels too.
    curves_of = functools.cache(functools.partial(sweep_curves, results))
    sweeps = []
    for dataset, entrant in pairs:
        metrics = transition_metrics(results, dataset, entrant)
        curves = {metric: curves_of(dataset, entrant, metric, "test") for metric in metrics}
        sweeps.append(_Sweep(dataset, entrant, {metric: values for metric, values in curves.items() if values}))
    numbers = count()
    charts = []
    for sweep in sweeps:
        alike = [other.curves for other in sweeps if other.dataset == sweep.dataset]
        charts.append(_charts_of_sweep(source, sweep, curves_of, shared_limits(source.titles, alike), numbers))
    return sorted(charts, key=lambda chart: not chart.is_trained)


def _charts_of_sweep(
    source: Source,
    sweep: _Sweep,
    curves_of: Callable[..., SweepCurves],
    limits: Mapping[str, tuple[float, float]],
    numbers: Iterator[int],
) -> SweepCharts:
    results, pair = source.results, (sweep.dataset, sweep.entrant)
    splits = [(curves_of(*pair, "psnr", split), split) for split in ("train", "test")]
    # A curve needs two noise levels.
    charts = [
        _noise_chart(curves, split) for curves, split in splits if any(len(points) > 1 for points in curves.values())
    ]
    nulls = dict(zip(results.metrics["metric"], results.metrics["null"], strict=True))
    positions = number_positions(numbers_of(list(sweep.curves.values())))
    levels = {metric: group_by_level(curves, positions) for metric, curves in sweep.curves.items()}
    styles = level_styles(sorted({sigma for by_level in levels.values() for sigma in by_level if sigma}))
    panels = []
    for metric, curves in sweep.curves.items():
        null = curves_of(*pair, nulls[metric], "test") if nulls.get(metric) else {}
        panels.append(_panel(source, metric, curves, null, positions, styles, limits[metric]))
    keys = [
        (Markup(key_drawing(_key_style(style), f"l{next(numbers)}")), level_label(sigma))
        for sigma, style in styles.items()
    ]
    kinds = entrant_kinds(results)
    is_trained = any(kinds.get(label) == "trained" for label in results.entrants if base_label(label) == sweep.entrant)
    return SweepCharts(sweep.dataset, sweep.entrant, is_trained, charts, panels, keys)


def _key_style(style: Mapping[str, Any]) -> dict[str, Any]:
    return {"linestyle": "-", "markerfacecolor": style["color"], **style}


def _noise_chart(curves: SweepCurves, split: str) -> Chart:
    """Return the chart of PSNR against input PSNR, a curve for each number of training images."""
    styles = number_styles(numbers_of([curves]))
    ends, series = [], {}
    for index, (images, points) in enumerate(curves.items()):
        levels = sorted(points)
        gid = f"number-{index}"
        texts = [value_text(points[sigma], 2) for sigma in levels]
        series[gid] = Series(number_label(images), input_psnr(levels).tolist(), texts, None, level_labels(levels))
        if levels:
            ends.append(EndLabel(number_label(images), points[levels[0]].value, to_hex(styles[images]["color"]), gid))

    def draw(ax: Axes) -> None:
        draw_sweep_curves(ax, curves, styles)
        label_ends(ax, ends)

    figure, _ = draw_figure(draw, is_labelled=True)
    image_kind = "training" if split == "train" else split
    title = f"output PSNR on {image_kind} images, by number of training images; grey: output = input"
    return Chart(figure, title, series, unit="dB")


def _panel(
    source: Source,
    metric: str,
    curves: SweepCurves,
    null: SweepCurves,
    positions: Mapping[int | None, float],
    styles: Mapping[float, dict[str, Any]],
    limits: tuple[float, float],
) -> Chart:
    """Return the panel of a metric against the number of training images, a curve for each noise level."""

    def draw(ax: Axes) -> None:
        draw_transition(ax, curves, null, positions, styles)
        ax.set_ylim(limits)

    with figure_style():
        figure = Figure(figsize=_PANEL_SIZE)
        draw(figure.add_axes(_PANEL_BOX))
    labels = {position: number_label(images) for images, position in positions.items()}
    series = {}
    for index, (sigma, values) in enumerate(sorted(group_by_level(curves, positions).items())):
        x, texts = [position for position, _ in values], [value_text(point, 3) for _, point in values]
        series[f"level-{index}"] = Series(level_label(sigma), x, texts, None, [labels[position] for position in x])
    note = ", ".join(filter(None, [source.better.get(metric, ""), "dotted: chance level" if null else ""]))
    return Chart(figure, source.titles.get(metric) or metric, series, note=note)
