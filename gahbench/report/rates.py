"""Rates as figures: curves and local slopes against theory, slopes against the resolution, distances from the bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gahbench._util.errors import ResultsError
from gahbench.board.facts import entrant_kinds, optimum_of
from gahbench.board.rate_courses import entrant_windows, families, window_slopes
from gahbench.board.rate_verdicts import WAVELET_RATE, DeficitCurve
from gahbench.board.scorecube import psnr_cubes
from gahbench.board.selection import chosen_labels
from gahbench.board.statistics import Array, interval
from gahbench.evaluation.rates import input_psnr, local_slopes
from gahbench.report.cells import folded
from gahbench.report.drawing import (
    GREY,
    Styles,
    caption_above,
    context,
    curve_with_band,
    grid_shape,
    legend_beside,
    looks,
    panels,
    text_at_edge,
)

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.board.scorecube import ScoreCube

#: The limit of wavelets on images with edges, however regular.
WAVELET_SLOPE = 0.5
_SHADE = "0.93"
_LABEL = 34
_SIGNS = {"near-optimal": "✓", "not near-optimal": "✗", "undecided": "?"}


def rates_figure(
    results: Results, windows: Mapping[str, Sequence[float]], entrants: Sequence[str] | None = None
) -> Figure:
    """Draw output PSNR, and below it the local slope, against input PSNR for each dataset."""
    chosen = chosen_labels(entrants, results.entrants, "entrant")
    cubes = {name: cube for name, cube in psnr_cubes(results, results.left_out).items() if len(cube.sigmas) > 1}
    if not cubes:
        raise ResultsError(f"results of suite '{results.suite}' have no dataset with at least two noise levels")
    slopes = dict(zip(results.datasets["dataset"], results.datasets["slope"], strict=True))
    with context():
        styles = looks(results.entrants, entrant_kinds(results))
        labels = {entrant: folded(entrant, _LABEL) for entrant in chosen}
        blocks, abreast = grid_shape(len(cubes), 5)
        drawing = Figure(figsize=(2.9 * abreast + 2.4, 5.4 * blocks), layout="constrained")
        axes = drawing.subplots(2 * blocks, abreast, squeeze=False)
        for place, (dataset, cube) in enumerate(cubes.items()):
            row, column = divmod(place, abreast)
            upper, lower = axes[2 * row : 2 * row + 2, column]
            _rates(upper, lower, cube, labels, styles)
            if len(window := input_psnr(windows.get(dataset, ()))):
                for ax in (upper, lower):
                    ax.axvspan(window.min(), window.max(), color=_SHADE, linewidth=0, zorder=0)
            _theory(upper, lower, input_psnr(cube.sigmas), slopes.get(dataset, math.nan))
            upper.set_title(folded(dataset, 36), loc="left")
            lower.set_xlabel("input PSNR (dB)")
            if column == 0:
                upper.set_ylabel("output PSNR (dB)")
                lower.set_ylabel("local slope (dB per dB)")
            lower.set_ylim(0, 1.1)
        for place, ax in enumerate(axes.flat):
            row, column = divmod(place, abreast)
            ax.set_visible(row // 2 * abreast + column < len(cubes))
        legend_beside(drawing, list(axes.flat))
    return drawing


def _rates(upper: Axes, lower: Axes, cube: ScoreCube, labels: Mapping[str, str], styles: Styles) -> None:
    """Draw the output PSNR of one dataset, and below it the local slopes: a curve for each entrant with a label."""
    x = input_psnr(cube.sigmas)
    middle, draws = cube.means(), cube.draws()
    for entrant in (label for label in labels if label in cube.entrants):
        at = cube.entrants.index(entrant)
        for ax, mean, drawn in (
            (upper, middle[at], draws[:, at]),
            (lower, local_slopes(x, middle[at]), local_slopes(x, draws[:, at])),
        ):
            curve_with_band(ax, x, (mean, *interval(drawn)), labels[entrant], styles[entrant])


def resolution_figure(
    results: Results, windows: Mapping[str, Sequence[float]], entrants: Sequence[str] | None = None
) -> Figure:
    """Draw the slope within the window against the size of the images, a panel for each family of datasets."""
    chosen = chosen_labels(entrants, results.entrants, "entrant")
    shown = {}
    for name, members in families(results).items():
        with_rates = {size: dataset for size, dataset in members.items() if len(windows.get(dataset, ())) > 1}
        if len(with_rates) > 1:
            shown[name] = with_rates
    if not shown:
        raise ResultsError(
            f"results of suite '{results.suite}' have no datasets that differ in their 'size' alone and have a rate at "
            "two sizes or more"
        )
    slopes = dict(zip(results.datasets["dataset"], results.datasets["slope"], strict=True))
    with context():
        styles = looks(results.entrants, entrant_kinds(results))
        cubes, own = psnr_cubes(results, results.left_out), entrant_windows(results, windows)
        drawing, axes = panels(len(shown), (1, len(shown)), (3.6 * len(shown) + 2.4, 3.6), sharey=True)
        for ax, (family, members) in zip(axes, shown.items(), strict=True):
            for place, entrant in enumerate(chosen):
                found = window_slopes(cubes, members, own, entrant)
                if not found:
                    continue
                middle, low, high = np.array(list(found.values())).T
                # Side by side, so that intervals do not hide each other.
                x = np.array(list(found)) * 2.0 ** (0.06 * (place - (len(chosen) - 1) / 2))
                ax.errorbar(x, middle, [middle - low, high - middle], label=folded(entrant, _LABEL), **styles[entrant])
            theory = slopes.get(next(iter(members.values())), math.nan)
            _levels(ax, theory)
            ax.set_xscale("log", base=2)
            ax.set_xticks(list(members), [str(size) for size in members])
            ax.minorticks_off()
            ax.set_xlabel("side of the images (pixels)")
            ax.set_title(folded(family, 40), loc="left")
        axes[0].set_ylabel("slope in the window (dB per dB)")
        legend_beside(drawing, axes)
    return drawing


def _theory(upper: Axes, lower: Axes, x: Array, slope: float) -> None:
    """Draw lines of slope 1/2 and of the optimal slope, through the best curve's middle above, across below."""
    curves = [np.asarray(line.get_ydata(), dtype=np.float64) for line in upper.get_lines()]
    pivot = float(x[len(x) // 2])
    height = max(float(curve[len(x) // 2]) for curve in curves)
    for value, dashes in ((WAVELET_SLOPE, ":"), (slope, "--")):
        if not math.isnan(value):
            upper.plot(x, height + value * (x - pivot), linestyle=dashes, color=GREY, linewidth=0.9, zorder=1)
    _levels(lower, slope)


def _levels(ax: Axes, slope: float) -> None:
    """Draw slope 1/2 and the optimal slope across a panel."""
    for value, dashes, name in ((WAVELET_SLOPE, ":", "½"), (slope, "--", "optimal")):
        if not math.isnan(value) and (name != "optimal" or value != WAVELET_SLOPE):
            ax.axhline(value, linestyle=dashes, color=GREY, linewidth=0.9, zorder=1)
            text = name if name == "½" else f"optimal {value:.2f}"
            # The text must stay readable above the curves.
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}
            text_at_edge(ax, value, text, fontsize=7.5, zorder=5, bbox=box)


def optimality_figure(
    results: Results, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> Figure:
    """Draw D = 10 log10(MSE / bound) against epsilon = sigma / side, a panel for each dataset."""
    names = chosen_labels(datasets, [str(name) for name in results.datasets["dataset"]], "dataset")
    chosen = chosen_labels(entrants, results.entrants, "entrant")
    found = {name: results.rate_courses[name] for name in names if name in results.rate_courses}
    if not found:
        raise ResultsError(
            f"results of suite '{results.suite}' have no distances from a bound on {', '.join(names)}; accepted: those "
            "of a suite with the metric optimality-slope"
        )
    with context():
        styles = looks(results.entrants, entrant_kinds(results))
        rows, columns = grid_shape(len(found), 3)
        drawing, axes = panels(len(found), (rows, columns), (3.6 * columns + 2.8, 3.4 * rows), sharey=True)
        for ax, (dataset, courses) in zip(axes, found.items(), strict=True):
            shown = [label for label in chosen if label in courses]
            for label in shown:
                sign = _SIGNS[results.rate_verdicts[dataset][label].answer]
                _course(ax, courses[label], folded(label, _LABEL), styles[label], sign)
            if shown:
                _reference(ax, courses[shown[0]], optimum_of(results, dataset)[1])
            ax.set_title(folded(dataset, 46), loc="left")
        for ax in axes[::columns]:
            ax.set_ylabel("D = 10 log₁₀(MSE / bound), dB")
        caption_above(drawing, ", ".join(f"{sign} {answer}" for answer, sign in _SIGNS.items()))
        legend_beside(drawing, axes)
    return drawing


def _course(ax: Axes, course: DeficitCurve, label: str, look: dict[str, Any], sign: str) -> None:
    """Draw the course of an entrant, with filled markers where it has collapsed and the sign of its verdict."""
    x, held = input_psnr(course.epsilons), course.known & course.own_collapsed
    curve_with_band(ax, x, (course.deficits, *interval(course.draws)), label, look | {"markerfacecolor": "white"})
    ax.plot(x[held], course.deficits[held], color=look["color"], marker=look["marker"], linestyle="", zorder=3.5)
    if (there := np.flatnonzero(np.isfinite(course.deficits))).size:
        # Epsilons ascend, so that the first is on the right.
        end = (float(x[there[0]]), float(course.deficits[there[0]]))
        ax.annotate(sign, end, (6, 0), textcoords="offset points", va="center", color=look["color"])


def _reference(ax: Axes, course: DeficitCurve, optimal_slope: float) -> None:
    """Shade the levels at which the bound has collapsed, and draw how a denoiser with the rate of wavelets grows."""
    x = input_psnr(course.epsilons)
    # Half way to the next level, as levels are points.
    edges = np.concatenate([[1.5 * x[0] - 0.5 * x[1]], (x[1:] + x[:-1]) / 2, [1.5 * x[-1] - 0.5 * x[-2]]])
    for place in np.flatnonzero(course.bound_collapsed):
        ax.axvspan(edges[place + 1], edges[place], color=_SHADE, linewidth=0, zorder=0)
    if optimal_slope > WAVELET_RATE:
        ax.plot(x, (optimal_slope - WAVELET_RATE) * (x - x.min()), color=GREY, linestyle=":", linewidth=0.9, zorder=1)
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    ax.set_xlabel("−20 log₁₀(σ / side), dB")
