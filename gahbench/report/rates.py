"""Figures of rates: local slopes against theory, slopes against image size, and distances from the bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gahbench._util.errors import ResultsError
from gahbench.board.display_names import DisplayNames, display_names
from gahbench.board.facts import entrant_kinds, families, optimum_of
from gahbench.board.rate_curves import entrant_windows, window_slopes
from gahbench.board.rate_verdicts import WAVELET_RATE, DeficitCurve
from gahbench.board.scorecube import psnr_cubes
from gahbench.board.selection import choose_labels
from gahbench.board.statistics import Array, interval
from gahbench.evaluation.rates import input_psnr, local_slopes
from gahbench.report.cells import fold_label
from gahbench.report.drawing import (
    GREY,
    Styles,
    add_caption,
    add_legend,
    create_panels,
    draw_curve,
    entrant_styles,
    figure_style,
    grid_shape,
    write_at_edge,
)

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.board.scorecube import ScoreCube

#: The largest slope of wavelets on images with edges, whatever the regularity of the edges.
WAVELET_SLOPE = 0.5
_SHADE = "0.93"
_LABEL_WIDTH = 34
_SIGNS = {"near-optimal": "✓", "not near-optimal": "✗", "undecided": "?"}


def rates_figure(
    results: Results, windows: Mapping[str, Sequence[float]], entrants: Sequence[str] | None = None
) -> Figure:
    """Draw output PSNR, and below it the local slope, against input PSNR for each dataset."""
    chosen = choose_labels(entrants, results.entrants, "entrant")
    cubes = {name: cube for name, cube in psnr_cubes(results, results.left_out).items() if len(cube.sigmas) > 1}
    if not cubes:
        raise ResultsError(f"results of suite '{results.suite}' have no dataset with at least two noise levels")
    slopes = dict(zip(results.datasets["dataset"], results.datasets["slope"], strict=True))
    with figure_style():
        styles = entrant_styles(results.entrants, entrant_kinds(results))
        labels = {entrant: fold_label(results.names.entrant(entrant), _LABEL_WIDTH) for entrant in chosen}
        grid_rows, columns = grid_shape(len(cubes), 5)
        drawing = Figure(figsize=(2.9 * columns + 2.4, 5.4 * grid_rows), layout="constrained")
        axes = drawing.subplots(2 * grid_rows, columns, squeeze=False)
        for index, (dataset, cube) in enumerate(cubes.items()):
            row, column = divmod(index, columns)
            upper, lower = axes[2 * row : 2 * row + 2, column]
            _draw_rates(upper, lower, cube, labels, styles)
            if len(window := input_psnr(windows.get(dataset, ()))):
                for ax in (upper, lower):
                    ax.axvspan(window.min(), window.max(), color=_SHADE, linewidth=0, zorder=0)
            _draw_theory(upper, lower, input_psnr(cube.sigmas), slopes.get(dataset, math.nan))
            upper.set_title(fold_label(results.names.dataset(dataset), 36), loc="left")
            lower.set_xlabel("input PSNR (dB)")
            if column == 0:
                upper.set_ylabel("output PSNR (dB)")
                lower.set_ylabel("local slope (dB per dB)")
            lower.set_ylim(0, 1.1)
        for index, ax in enumerate(axes.flat):
            row, column = divmod(index, columns)
            ax.set_visible(row // 2 * columns + column < len(cubes))
        add_legend(drawing, list(axes.flat))
    return drawing


def _draw_rates(upper: Axes, lower: Axes, cube: ScoreCube, labels: Mapping[str, str], styles: Styles) -> None:
    """Draw the output PSNR and the local slopes of a dataset, a curve for each entrant that has a label."""
    x = input_psnr(cube.sigmas)
    for entrant in (label for label in labels if label in cube.entrants):
        index = cube.entrants.index(entrant)
        psnr = cube.shared_sample.row(index)
        for ax, curve in ((upper, psnr), (lower, psnr.apply(lambda array: local_slopes(x, array)))):
            draw_curve(ax, x, (curve.values, *curve.ends()), labels[entrant], styles[entrant])


def resolution_figure(
    results: Results, windows: Mapping[str, Sequence[float]], entrants: Sequence[str] | None = None
) -> Figure:
    """Draw the slope within the window against the size of the images, a panel for each family of datasets."""
    chosen = choose_labels(entrants, results.entrants, "entrant")
    drawn_families = {}
    for name, members in families(results).items():
        with_rates = {size: dataset for size, dataset in members.items() if len(windows.get(dataset, ())) > 1}
        if len(with_rates) > 1:
            drawn_families[name] = with_rates
    if not drawn_families:
        raise ResultsError(
            f"results of suite '{results.suite}' have no datasets that differ in their 'size' alone and have a rate at "
            "two sizes or more"
        )
    slopes = dict(zip(results.datasets["dataset"], results.datasets["slope"], strict=True))
    names = DisplayNames()
    if results.registry is not None:
        names = display_names(results.registry(), (), dict.fromkeys(drawn_families, ""))
    with figure_style():
        styles = entrant_styles(results.entrants, entrant_kinds(results))
        cubes, own_windows = psnr_cubes(results, results.left_out), entrant_windows(results, windows)
        drawing, axes = create_panels(
            len(drawn_families), (1, len(drawn_families)), (3.6 * len(drawn_families) + 2.4, 3.6), sharey=True
        )
        for ax, (family, members) in zip(axes, drawn_families.items(), strict=True):
            for index, entrant in enumerate(chosen):
                slopes_by_size = window_slopes(cubes, members, own_windows, entrant)
                if not slopes_by_size:
                    continue
                values, low, high = np.array(list(slopes_by_size.values())).T
                # A small horizontal shift keeps the intervals from hiding each other.
                x = np.array(list(slopes_by_size)) * 2.0 ** (0.06 * (index - (len(chosen) - 1) / 2))
                label = fold_label(results.names.entrant(entrant), _LABEL_WIDTH)
                ax.errorbar(x, values, [values - low, high - values], label=label, **styles[entrant])
            theory = slopes.get(next(iter(members.values())), math.nan)
            _draw_slopes(ax, theory)
            ax.set_xscale("log", base=2)
            ax.set_xticks(list(members), [str(size) for size in members])
            ax.minorticks_off()
            ax.set_xlabel("side of the images (pixels)")
            ax.set_title(fold_label(names.dataset(family), 40), loc="left")
        axes[0].set_ylabel("slope in the window (dB per dB)")
        add_legend(drawing, axes)
    return drawing


def _draw_theory(upper: Axes, lower: Axes, x: Array, slope: float) -> None:
    """Draw slope 1/2 and the optimal slope: through the middle of the best curve above, as horizontal lines below."""
    curves = [np.asarray(line.get_ydata(), dtype=np.float64) for line in upper.get_lines()]
    pivot = float(x[len(x) // 2])
    height = max(float(curve[len(x) // 2]) for curve in curves)
    for value, dashes in ((WAVELET_SLOPE, ":"), (slope, "--")):
        if not math.isnan(value):
            upper.plot(x, height + value * (x - pivot), linestyle=dashes, color=GREY, linewidth=0.9, zorder=1)
    _draw_slopes(lower, slope)


def _draw_slopes(ax: Axes, slope: float) -> None:
    """Draw slope 1/2 and the optimal slope as horizontal lines."""
    for value, dashes, name in ((WAVELET_SLOPE, ":", "½"), (slope, "--", "optimal")):
        if not math.isnan(value) and (name != "optimal" or value != WAVELET_SLOPE):
            ax.axhline(value, linestyle=dashes, color=GREY, linewidth=0.9, zorder=1)
            text = name if name == "½" else f"optimal {value:.2f}"
            # The background keeps the text readable over the curves.
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}
            write_at_edge(ax, value, text, fontsize=7.5, zorder=5, bbox=box)


def optimality_figure(
    results: Results, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> Figure:
    """Draw D = 10 log10(MSE / bound) against epsilon = sigma / side, a panel for each dataset."""
    names = choose_labels(datasets, [str(name) for name in results.datasets["dataset"]], "dataset")
    chosen = choose_labels(entrants, results.entrants, "entrant")
    curves_by_dataset = {name: results.deficit_curves[name] for name in names if name in results.deficit_curves}
    if not curves_by_dataset:
        raise ResultsError(
            f"results of suite '{results.suite}' have no distances from a bound on {', '.join(names)}; accepted: "
            "results of a suite with the metric optimality-slope"
        )
    with figure_style():
        styles = entrant_styles(results.entrants, entrant_kinds(results))
        rows, columns = grid_shape(len(curves_by_dataset), 3)
        drawing, axes = create_panels(
            len(curves_by_dataset), (rows, columns), (3.6 * columns + 2.8, 3.4 * rows), sharey=True
        )
        for ax, (dataset, curves) in zip(axes, curves_by_dataset.items(), strict=True):
            drawn_labels = [label for label in chosen if label in curves]
            for label in drawn_labels:
                sign = _SIGNS[results.rate_verdicts[dataset][label].answer]
                name = fold_label(results.names.entrant(label), _LABEL_WIDTH)
                _draw_deficit_curve(ax, curves[label], name, styles[label], sign)
            if drawn_labels:
                _draw_reference(ax, curves[drawn_labels[0]], optimum_of(results, dataset)[1])
            ax.set_title(fold_label(results.names.dataset(dataset), 46), loc="left")
        for ax in axes[::columns]:
            ax.set_ylabel("D = 10 log₁₀(MSE / bound), dB")
        add_caption(drawing, ", ".join(f"{sign} {answer}" for answer, sign in _SIGNS.items()))
        add_legend(drawing, axes)
    return drawing


def _draw_deficit_curve(ax: Axes, curve: DeficitCurve, label: str, style: dict[str, Any], sign: str) -> None:
    """Draw the deficit of an entrant and the sign of its verdict; markers are filled where the curve has collapsed."""
    x, has_collapsed = input_psnr(curve.epsilons), curve.known & curve.own_collapsed
    draw_curve(ax, x, (curve.deficits, *interval(curve.draws)), label, style | {"markerfacecolor": "white"})
    ax.plot(
        x[has_collapsed],
        curve.deficits[has_collapsed],
        color=style["color"],
        marker=style["marker"],
        linestyle="",
        zorder=3.5,
    )
    if (known_indices := np.flatnonzero(np.isfinite(curve.deficits))).size:
        # Epsilons ascend, so the first is on the right.
        end = (float(x[known_indices[0]]), float(curve.deficits[known_indices[0]]))
        ax.annotate(sign, end, (6, 0), textcoords="offset points", va="center", color=style["color"])


def _draw_reference(ax: Axes, curve: DeficitCurve, optimal_slope: float) -> None:
    """Shade the levels at which the bound has collapsed, and draw the distance of a denoiser with the wavelet rate."""
    x = input_psnr(curve.epsilons)
    # The shade of a level ends halfway to the next level.
    edges = np.concatenate([[1.5 * x[0] - 0.5 * x[1]], (x[1:] + x[:-1]) / 2, [1.5 * x[-1] - 0.5 * x[-2]]])
    for index in np.flatnonzero(curve.bound_collapsed):
        ax.axvspan(edges[index + 1], edges[index], color=_SHADE, linewidth=0, zorder=0)
    if optimal_slope > WAVELET_RATE:
        ax.plot(x, (optimal_slope - WAVELET_RATE) * (x - x.min()), color=GREY, linestyle=":", linewidth=0.9, zorder=1)
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    ax.set_xlabel("−20 log₁₀(σ / side), dB")
