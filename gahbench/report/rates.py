"""Figures of rates: local slopes against theory, and distances from the bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gahbench._util.errors import GahbenchError, ParameterError, ResultsError
from gahbench.board.statistics import interval
from gahbench.board.tables import entrant_kinds
from gahbench.contracts.datasets import Dataset
from gahbench.evaluation.rates import MIN_LEVELS, input_psnr, local_slopes
from gahbench.registry.registry import Registry, built_in_registry
from gahbench.report.drawing import GREY, WIDTH, draw_curves

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: The largest slope of wavelets on images with edges, whatever the regularity of the edges.
WAVELET_SLOPE = 0.5
_SHADE = "0.95"
_COLUMNS = pd.Index(("panel", "label", "x", "value", "low", "high"))


def rate_windows(results: Results, registry: Registry, rate: str = "rate") -> dict[str, list[float]]:
    """Return, by dataset, the noise levels of results at which slopes are valid estimates of rates."""
    levels = getattr(registry.create("metric", rate), "levels", None)
    if levels is None:
        raise ParameterError(f"metric '{rate}' has no window of noise levels; accepted: rate, with parameters")
    windows = {}
    scores = results.scores[(results.scores["metric"] == "psnr") & (results.scores["split"] == "test")]
    for fact in results.datasets.itertuples():
        own: Any = scores[scores["dataset"] == fact.dataset]
        try:
            dataset: Dataset = registry.create("dataset", str(fact.spec or fact.dataset))
            # A suite may use the name of a different dataset as a label.
            if not own.empty and dataset.shape == (fact.channels, fact.height, fact.width):
                clean = dataset.images("test", int(own["image"].max()) + 1)
                windows[str(fact.dataset)] = levels(clean, own["sigma"].dropna().unique().tolist())
        except (GahbenchError, ValueError):
            continue
    return {dataset: window for dataset, window in windows.items() if len(window) >= MIN_LEVELS}


def draw_rates(
    results: Results, datasets: Sequence[str], entrants: Sequence[str], *, width: float = WIDTH, rate: str = "rate"
) -> Figure:
    """Draw the local slope of output against input PSNR; the window of ``rate``, in which it is a rate, is shaded."""
    cubes = {name: cube for name, cube in results.psnr_cubes.items() if name in datasets and len(cube.sigmas) > 1}
    rows = []
    for dataset, cube in cubes.items():
        x = input_psnr(cube.sigmas)
        slopes = cube.shared_sample.apply(lambda array, x=x: local_slopes(x, array))  # type: ignore[misc]
        for entrant, *curve in zip(cube.entrants, slopes.values, *slopes.ends(), strict=True):
            if entrant in entrants:
                points = zip(cube.sigmas, *curve, strict=True)
                rows += [(results.names.dataset(dataset), results.names.entrant(entrant), *point) for point in points]
    if not rows:
        raise ResultsError(f"results of suite '{results.suite}' have no dataset with at least two noise levels")
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    figure = draw_curves(
        frame, "noise level σ, for images in [0, 1]", "local slope (dB per dB)", width=width, share_y=True
    )
    windows = rate_windows(results, results.registry() if results.registry else built_in_registry(), rate)
    drawn = [name for name in cubes if results.names.dataset(name) in set(frame["panel"])]
    for ax, dataset in zip(figure.axes, drawn, strict=True):
        if window := windows.get(dataset):
            ax.axvspan(min(window), max(window), color=_SHADE, linewidth=0, zorder=0)
        for slope, dashes in ((WAVELET_SLOPE, ":"), (results.facts[dataset].slope, "--")):
            if not math.isnan(slope):
                ax.axhline(slope, linestyle=dashes, color=GREY, linewidth=0.9, zorder=1)
        ax.set_ylim(0, 1.1)
    return figure


def draw_optimality(
    results: Results, datasets: Sequence[str], entrants: Sequence[str], *, width: float = WIDTH
) -> Figure:
    """Draw D = 10 log10(MSE / bound) against sigma / side; levels at which the bound has collapsed are shaded."""
    kinds = entrant_kinds(results)
    shown = [label for label in entrants if kinds.get(label) not in ("optimal", "bound")]
    curves_by_dataset = {name: results.deficit_curves[name] for name in datasets if name in results.deficit_curves}
    rows = [
        (results.names.dataset(dataset), results.names.entrant(label), *point)
        for dataset, curves in curves_by_dataset.items()
        for label in shown
        if label in curves
        for point in zip(curves[label].epsilons, curves[label].deficits, *interval(curves[label].draws), strict=True)
        if math.isfinite(point[1])
    ]
    if not rows:
        raise ResultsError(
            f"results of suite '{results.suite}' have no distances from a bound on {', '.join(datasets)}; accepted: "
            "results of a suite with the metric optimality-slope"
        )
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    figure = draw_curves(frame, "noise level over image side, σ / side", "D = 10 log₁₀(MSE / bound), dB", width=width)
    for ax, (dataset, curves) in zip(figure.axes, curves_by_dataset.items(), strict=True):
        limits, curve = ax.get_xlim(), next(iter(curves.values()))
        # The shade of a level ends halfway to the next level.
        logs = np.log(curve.epsilons)
        edges = np.exp(np.concatenate([[logs[0]], (logs[1:] + logs[:-1]) / 2, [logs[-1]]]))
        for index in np.flatnonzero(curve.bound_collapsed):
            ax.axvspan(edges[index], edges[index + 1], color=_SHADE, linewidth=0, zorder=0)
        slope = results.facts[dataset].slope
        if slope > WAVELET_SLOPE:
            x = input_psnr(curve.epsilons)
            ax.plot(curve.epsilons, (slope - WAVELET_SLOPE) * (x - x.min()), color=GREY, linestyle=":", zorder=1)
        ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
        ax.set_xlim(limits)
    return figure
