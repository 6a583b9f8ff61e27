"""Generalization as figures: PSNR on training and test images, and metrics by their number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gahbench._util.errors import ParameterError, listing, suggestion
from gahbench._util.readable import level_name
from gahbench.board.generalization import SweepCurves, course, metrics_of
from gahbench.board.statistics import Estimate
from gahbench.evaluation.rates import input_psnr
from gahbench.report.cells import folded
from gahbench.report.drawing import (
    GREY,
    PALETTE,
    bands,
    caption_above,
    context,
    curve_with_band,
    grid_shape,
    legend_beside,
)

if TYPE_CHECKING:
    from gahbench.board.results import Results

_MARKERS = "osD^vPX<>"
_ABREAST = 3


def curves_figure(results: Results, pairs: Sequence[tuple[str, str]]) -> Figure:
    """Draw output PSNR on training and on test images against input PSNR, a curve for each number of images.

    As figure 1 of Kadkhodaie et al. 2024: a row for each dataset and entrant. Bands are 95 % bootstrap intervals.
    """
    rows = [(pair, [course(results, *pair, "psnr", split) for split in ("train", "test")]) for pair in pairs]
    numbers = numbers_of([found for _, both in rows for found in both])
    with context():
        styles = number_looks(numbers)
        drawing = Figure(figsize=(8.2, 3.5 * len(rows)), layout="constrained")
        axes = drawing.subplots(len(rows), 2, squeeze=False, sharey="row")
        for line, ((dataset, entrant), both) in zip(axes, rows, strict=True):
            for ax, found, split in zip(line, both, ("training", "test"), strict=True):
                draw_course(ax, found, styles)
                ax.set_title(f"{split} images", loc="left")
            line[1].set_ylabel("")
            line[0].set_title(f"{folded(f'{entrant}, {dataset}', 60)}\ntraining images", loc="left")
        legend_beside(drawing, list(axes.flat))
    return drawing


def transitions_figure(results: Results, dataset: str, entrant: str, metrics: Sequence[str]) -> Figure:
    """Draw metrics against the number of training images, a panel for each, a curve for each noise level."""
    titles, nulls = (
        dict(zip(results.metrics["metric"], results.metrics[name], strict=True)) for name in ("title", "null")
    )
    panels = {metric: course(results, dataset, entrant, metric) for metric in metrics}
    panels = {metric: found for metric, found in panels.items() if found}
    blocks, abreast = grid_shape(len(panels), _ABREAST)
    places = number_places(numbers_of(list(panels.values())))
    with context():
        sigmas = sorted({sigma for found in panels.values() for points in found.values() for sigma in points})
        styles = level_looks([sigma for sigma in sigmas if not math.isnan(sigma)])
        drawing = Figure(figsize=(3.0 * abreast + 1.2, 2.5 * blocks + 0.4), layout="constrained")
        axes = drawing.subplots(blocks, abreast, squeeze=False)
        for ax, (metric, found) in zip(axes.flat, panels.items(), strict=False):
            null = course(results, dataset, entrant, nulls[metric]) if nulls.get(metric) else {}
            draw_transition(ax, found, null, places, styles)
            ax.set_title(folded(titles.get(metric, metric), 42), loc="left")
        for ax in list(axes.flat)[len(panels) :]:
            ax.set_visible(False)
        caption_above(drawing, folded(f"{entrant}, {dataset}", 45 * abreast))
        legend_beside(drawing, list(axes.flat)[: len(panels)])
    return drawing


def transition_metrics(results: Results, dataset: str, entrant: str, chosen: Sequence[str] | None = None) -> list[str]:
    """Return the metrics that a figure of transitions shows: those chosen, or all that have a title and values."""
    known = metrics_of(results, dataset, entrant)
    for metric in chosen or ():
        if metric not in known:
            raise ParameterError(
                f"no values of '{metric}'{suggestion(metric, known) or ';'} {entrant} on {dataset} has {listing(known)}"
            )
    return list(chosen) if chosen else [metric for metric in results.metrics["metric"] if metric in known]


def number_label(number: int | None) -> str:
    """Return how figures call a number of training images."""
    return f"N = {'all' if number is None else number}"


def number_looks(numbers: Sequence[int | None]) -> dict[int | None, dict[str, Any]]:
    """Return how to draw each number of images: darker for more, and with a marker of its own."""
    # Without the palest colours.
    colours = matplotlib.colormaps["viridis_r"](np.linspace(0, 1, len(numbers) + 3)[2:-1])
    return {
        number: {"color": tuple(colour), "marker": _MARKERS[place % len(_MARKERS)]}
        for place, (number, colour) in enumerate(zip(numbers, colours, strict=True))
    }


def numbers_of(found: Sequence[SweepCurves]) -> list[int | None]:
    """Return the numbers of training images that are in any, ascending, all of the split last."""
    return sorted(
        {number for one in found for number in one}, key=lambda number: math.inf if number is None else number
    )


def level_looks(sigmas: Sequence[float]) -> dict[float, dict[str, Any]]:
    """Return how to draw each noise level."""
    return {
        sigma: {"color": PALETTE[place % len(PALETTE)], "marker": _MARKERS[place % len(_MARKERS)]}
        for place, sigma in enumerate(sigmas)
    }


def draw_course(ax: Axes, found: SweepCurves, styles: Mapping[int | None, dict[str, Any]]) -> None:
    """Draw output PSNR against input PSNR, a curve for each number of images, and the identity."""
    for place, (number, points) in enumerate(found.items()):
        levels = sorted(points)
        curve = bands([points[sigma] for sigma in levels])
        curve_with_band(ax, input_psnr(levels), curve, number_label(number), styles[number], gid=f"number-{place}")
    if sigmas := [sigma for points in found.values() for sigma in points]:
        span = np.array([input_psnr(max(sigmas)), input_psnr(min(sigmas))])
        ax.plot(span, span, color=GREY, linewidth=0.8, zorder=1, label="output = input")
    ax.set_xlabel("input PSNR (dB)")
    ax.set_ylabel("output PSNR (dB)")


def number_places(numbers: Sequence[int | None]) -> dict[int | None, float]:
    """Return where numbers of images are on their axis: all of a split is a decade beyond the largest number."""
    limited = [number for number in numbers if number is not None]
    return {number: number if number is not None else 10 * max(limited, default=0.1) for number in numbers}


def by_level(found: SweepCurves, places: Mapping[int | None, float]) -> dict[float, list[tuple[float, Estimate]]]:
    """Return points by noise level (0 for none) and place on the axis of numbers of images."""
    levels: dict[float, list[tuple[float, Estimate]]] = {}
    for number, points in found.items():
        place = places[number]
        for sigma, point in points.items():
            levels.setdefault(0.0 if math.isnan(sigma) else sigma, []).append((place, point))
    return levels


def draw_transition(
    ax: Axes,
    found: SweepCurves,
    null: SweepCurves,
    places: Mapping[int | None, float],
    styles: Mapping[float, dict[str, Any]],
) -> None:
    """Draw a metric against the number of training images, a curve for each noise level, and what chance gives."""
    for place, (sigma, values) in enumerate(sorted(by_level(found, places).items())):
        numbers, points = zip(*values, strict=True)
        look = styles.get(sigma, {"color": "black", "marker": "o"})
        x = np.array(numbers, dtype=np.float64)
        curve_with_band(ax, x, bands(points), level_label(sigma), look, gid=f"level-{place}")
    for values in by_level(null, places).values():
        numbers, points = zip(*values, strict=True)
        ax.plot(numbers, [point.value for point in points], color=GREY, linestyle=":", label="chance")
    ax.set_xscale("log")
    ax.set_xticks(list(places.values()), [_short(number) for number in places])
    ax.minorticks_off()
    ax.set_xlabel("training images N")


def level_label(sigma: float) -> str:
    """Return how figures call a noise level, 0 for none."""
    return f"σ = {level_name(sigma)}" if sigma else "samples"


def _short(number: int | None) -> str:
    if number is None:
        return "all"
    return f"{number // 1000} k" if number >= 1000 and number % 1000 == 0 else str(number)
