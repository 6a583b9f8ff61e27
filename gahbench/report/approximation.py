"""Nonlinear approximation as a figure: error against the number of terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gahbench.board.statistics import bootstrap_means, interval
from gahbench.report.cells import folded
from gahbench.report.drawing import GREY, context, curve_with_band, legend_beside, looks

if TYPE_CHECKING:
    from gahbench.evaluation.approximation import Approximation

Array = NDArray[np.float64]
_LABEL = 30


def approximation_figure(panels: Mapping[str, Mapping[str, Approximation]], slopes: Mapping[str, float]) -> Figure:
    """Draw the error against the number of terms, log-log, a panel for each dataset and a curve for each basis.

    Terms and errors are means over the images at equal thresholds; bands are 95 % bootstrap intervals of the errors.
    Grey lines fall as M^-1, as wavelets do on images with edges, and as M^-alpha of the dataset's optimal slope
    alpha/(alpha+1).
    """
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    with context():
        styles = looks(names, dict.fromkeys(names, "classical"))
        drawing = Figure(figsize=(3.2 * len(panels) + 2.0, 3.5), layout="constrained")
        axes = drawing.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for ax, (dataset, curves) in zip(axes, panels.items(), strict=True):
            for name, curve in curves.items():
                low, high = interval(bootstrap_means(curve.errors[:, None, :]))
                shown = curve.shown
                band = (curve.mean_errors[shown], low[shown], high[shown])
                curve_with_band(ax, curve.mean_terms[shown], band, folded(name, _LABEL), styles[name])
            slope = slopes.get(dataset, math.nan)
            best = next(iter(curves.values()))
            _falls(ax, best.mean_terms[best.shown], best.mean_errors[best.shown], slope)
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xlabel("terms per image")
            ax.set_title(folded(dataset, 36), loc="left")
        # Lines of theory must not stretch the axis beyond the data.
        found = [curve.mean_errors[curve.shown] for curves in panels.values() for curve in curves.values()]
        measured = np.concatenate([*found, [np.nan]])
        if np.isfinite(measured).any():
            axes[0].set_ylim(np.nanmin(measured) / 2, np.nanmax(measured) * 2)
        axes[0].set_ylabel("squared error per pixel")
        legend_beside(drawing, list(axes))
    return drawing


def _falls(ax: Axes, terms: Array, errors: Array, slope: float) -> None:
    """Draw lines of theory through the middle of a curve."""
    if not len(terms):
        return
    middle = len(terms) // 2
    span = terms[[0, -1]]
    exponents = {1.0: ":"}
    if not math.isnan(slope) and 0 < slope < 1:
        exponents[round(slope / (1 - slope), 6)] = "--"
    for exponent, dashes in exponents.items():
        heights = errors[middle] * (span / terms[middle]) ** -exponent
        ax.plot(
            span,
            heights,
            linestyle=dashes,
            color=GREY,
            linewidth=0.9,
            zorder=1,
            label=f"falls as $M^{{-{exponent:g}}}$",
        )
