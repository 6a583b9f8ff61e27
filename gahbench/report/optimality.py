"""The distance from the bound against noise over side, and where it can be read as a rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gahbench._util.errors import ResultsError
from gahbench.board.facts import entrant_kinds, optimum_of
from gahbench.board.rate_verdicts import WAVELET_RATE, Course
from gahbench.board.selection import chosen_labels
from gahbench.board.statistics import interval
from gahbench.evaluation.rates import input_psnr
from gahbench.report.cells import folded
from gahbench.report.figures import GREY, caption_above, context, curve_with_band, grid_shape, legend_beside, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gahbench.board.results import Results

_COLLAPSED = "0.93"
_LABEL = 34
_ABREAST = 3
_SIGNS = {"near-optimal": "✓", "not near-optimal": "✗", "undecided": "?"}


def optimality_figure(
    results: Results, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> Figure:
    """Draw D = 10 log10(MSE / bound) against epsilon = sigma / side, a panel for each dataset."""
    from matplotlib.figure import Figure

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
        rows, columns = grid_shape(len(found), _ABREAST)
        drawing = Figure(figsize=(3.6 * columns + 2.8, 3.4 * rows), layout="constrained")
        axes = drawing.subplots(rows, columns, squeeze=False, sharey=True)
        for ax, (dataset, made) in zip(axes.flat, found.items(), strict=False):
            for label in (label for label in chosen if label in made):
                answer = results.rate_verdicts[dataset][label].answer
                _course(ax, made[label], folded(label, _LABEL), styles[label], _SIGNS[answer])
            if shown := [made[label] for label in chosen if label in made]:
                _reference(ax, shown[0], optimum_of(results, dataset)[1])
            ax.set_title(folded(dataset, 46), loc="left")
        for ax in axes.flat[len(found) :]:
            ax.set_visible(False)
        for ax in axes[:, 0]:
            ax.set_ylabel("D = 10 log₁₀(MSE / bound), dB")
        caption_above(drawing, ", ".join(f"{sign} {answer}" for answer, sign in _SIGNS.items()))
        legend_beside(drawing, list(axes.flat[: len(found)]))
    return drawing


def _course(ax: Axes, course: Course, label: str, look: dict[str, Any], sign: str) -> None:
    """Draw the course of an entrant, with filled markers where it has collapsed and the sign of its verdict."""
    x, held = input_psnr(course.epsilons), course.known & course.own_collapsed
    curve_with_band(ax, x, (course.deficits, *interval(course.draws)), label, look | {"markerfacecolor": "white"})
    ax.plot(x[held], course.deficits[held], color=look["color"], marker=look["marker"], linestyle="", zorder=3.5)
    if (there := np.flatnonzero(np.isfinite(course.deficits))).size:
        # Epsilons ascend, so that the first is on the right.
        end = (float(x[there[0]]), float(course.deficits[there[0]]))
        ax.annotate(sign, end, (6, 0), textcoords="offset points", va="center", color=look["color"])


def _reference(ax: Axes, course: Course, optimal_slope: float) -> None:
    """Shade the levels at which the bound has collapsed, and draw how a denoiser with the rate of wavelets grows."""
    x = input_psnr(course.epsilons)
    # Half way to the next level, as levels are points.
    edges = np.concatenate([[1.5 * x[0] - 0.5 * x[1]], (x[1:] + x[:-1]) / 2, [1.5 * x[-1] - 0.5 * x[-2]]])
    for place in np.flatnonzero(course.bound_collapsed):
        ax.axvspan(edges[place + 1], edges[place], color=_COLLAPSED, linewidth=0, zorder=0)
    if optimal_slope > WAVELET_RATE:
        ax.plot(x, (optimal_slope - WAVELET_RATE) * (x - x.min()), color=GREY, linestyle=":", linewidth=0.9, zorder=1)
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    ax.set_xlabel("−20 log₁₀(σ / side), dB")
