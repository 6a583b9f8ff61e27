"""Figures of rates: local slopes against theory, slopes against image size, and distances from the bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gahbench._util.errors import GahbenchError, ParameterError, ResultsError
from gahbench.board.cube import psnr_cubes
from gahbench.board.display_names import DisplayNames, display_names
from gahbench.board.facts import entrant_kinds, families, optimum_of
from gahbench.board.rate_curves import entrant_windows, window_slopes
from gahbench.board.statistics import interval
from gahbench.contracts.datasets import Dataset
from gahbench.evaluation.rates import MIN_LEVELS, input_psnr, local_slopes
from gahbench.registry.registry import Registry, built_in_registry
from gahbench.report.drawing import GREY, WIDTH, draw_curves

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: The largest slope of wavelets on images with edges, whatever the regularity of the edges.
WAVELET_SLOPE = 0.5
_SHADE = "0.95"
_COLUMNS = ("panel", "label", "x", "value", "low", "high")


def rate_windows(results: Results, registry: Registry, rate: str = "rate") -> dict[str, list[float]]:
    """Return, by dataset, the noise levels of results at which slopes are valid estimates of rates."""
    levels = getattr(registry.create("metric", rate), "levels", None)
    if levels is None:
        raise ParameterError(f"metric '{rate}' has no window of noise levels; accepted: rate, with parameters")
    windows = {}
    scores = results.scores[(results.scores["metric"] == "psnr") & (results.scores["split"] == "test")]
    facts = {str(row.dataset): row for row in results.datasets.itertuples()}
    for label, dataset_scores in scores.groupby("dataset", sort=False):
        fact: Any = facts[str(label)]
        try:
            dataset: Dataset = registry.create("dataset", str(fact.spec or label))
            if dataset.shape != (int(fact.channels), int(fact.height), int(fact.width)):
                continue  # The suite uses the name of a different dataset as a label.
            clean = dataset.images("test", int(dataset_scores["image"].max()) + 1)
            window = levels(clean, dataset_scores["sigma"].dropna().unique().tolist())
        except (GahbenchError, ValueError):
            continue
        if len(window) >= MIN_LEVELS:
            windows[str(label)] = window
    return windows


def _windows_of(results: Results, rate: str) -> dict[str, list[float]]:
    return rate_windows(results, results.registry() if results.registry else built_in_registry(), rate)


def draw_rates(
    results: Results, datasets: Sequence[str], entrants: Sequence[str], *, width: float = WIDTH, rate: str = "rate"
) -> Figure:
    """Draw the local slope of output against input PSNR; the window of ``rate``, in which it is a rate, is shaded."""
    cubes = psnr_cubes(results)
    rows = []
    for dataset in (name for name in datasets if name in cubes and len(cubes[name].sigmas) > 1):
        cube = cubes[dataset]
        x = input_psnr(cube.sigmas)
        for entrant in (label for label in entrants if label in cube.entrants):
            sample = cube.shared_sample.row(cube.entrants.index(entrant))
            slopes = sample.apply(lambda array, x=x: local_slopes(x, array))  # type: ignore[misc]
            curve = zip(cube.sigmas, slopes.values, *slopes.ends(), strict=True)
            rows += [(dataset, results.names.entrant(entrant), *point) for point in curve]
    if not rows:
        raise ResultsError(f"results of suite '{results.suite}' have no dataset with at least two noise levels")
    frame = pd.DataFrame(rows, columns=pd.Index(_COLUMNS))
    drawn, windows = list(dict.fromkeys(frame["panel"])), _windows_of(results, rate)
    frame = frame.assign(panel=frame["panel"].map(results.names.dataset))
    figure = draw_curves(
        frame, "noise level σ, for images in [0, 1]", "local slope (dB per dB)", width=width, share_y=True
    )
    for ax, dataset in zip(figure.axes, drawn, strict=True):
        if window := windows.get(dataset):
            ax.axvspan(min(window), max(window), color=_SHADE, linewidth=0, zorder=0)
        _draw_slopes(ax, optimum_of(results, dataset)[1])
        ax.set_ylim(0, 1.1)
    return figure


def draw_resolution(
    results: Results, datasets: Sequence[str], entrants: Sequence[str], *, width: float = WIDTH, rate: str = "rate"
) -> Figure:
    """Draw the slope within the window of ``rate`` against the size of images, for datasets that differ in size."""
    windows = _windows_of(results, rate)
    own_windows, cubes = entrant_windows(results, windows), psnr_cubes(results)
    names = DisplayNames()
    if results.registry is not None:
        names = display_names(results.registry(), (), dict.fromkeys(families(results), ""))
    rows, theory = [], {}
    for family, members in families(results).items():
        sizes = {size: name for size, name in members.items() if name in datasets and len(windows.get(name, ())) > 1}
        if len(sizes) < 2:
            continue
        theory[family] = optimum_of(results, next(iter(sizes.values())))[1]
        for entrant in entrants:
            slopes = window_slopes(cubes, sizes, own_windows, entrant)
            rows += [(names.dataset(family), results.names.entrant(entrant), x, *slope) for x, slope in slopes.items()]
    if not rows:
        raise ResultsError(
            f"results of suite '{results.suite}' have no datasets that differ in their 'size' alone and have a rate at "
            "two sizes or more"
        )
    frame = pd.DataFrame(rows, columns=pd.Index(_COLUMNS))
    figure = draw_curves(frame, "side of the images (pixels)", "slope in the window (dB per dB)", width=width)
    for ax, slope in zip(figure.axes, theory.values(), strict=True):
        _draw_slopes(ax, slope)
        sides = sorted(set(frame["x"]))
        ax.set_xticks(sides, [str(side) for side in sides])
    return figure


def _draw_slopes(ax: Axes, slope: float) -> None:
    """Draw the slope of wavelets on images with edges as a dotted, and the optimal slope as a dashed line."""
    for value, dashes in ((WAVELET_SLOPE, ":"), (slope, "--")):
        if not math.isnan(value):
            ax.axhline(value, linestyle=dashes, color=GREY, linewidth=0.9, zorder=1)


def draw_optimality(
    results: Results, datasets: Sequence[str], entrants: Sequence[str], *, width: float = WIDTH
) -> Figure:
    """Draw D = 10 log10(MSE / bound) against sigma / side; levels at which the bound has collapsed are shaded."""
    kinds = entrant_kinds(results)
    curves_by_dataset = {name: results.deficit_curves[name] for name in datasets if name in results.deficit_curves}
    rows = [
        (results.names.dataset(dataset), results.names.entrant(label), *point)
        for dataset, curves in curves_by_dataset.items()
        for label in entrants
        if label in curves and kinds.get(label) not in ("optimal", "bound")
        for point in zip(curves[label].epsilons, curves[label].deficits, *interval(curves[label].draws), strict=True)
        if math.isfinite(point[1])
    ]
    if not rows:
        raise ResultsError(
            f"results of suite '{results.suite}' have no distances from a bound on {', '.join(datasets)}; accepted: "
            "results of a suite with the metric optimality-slope"
        )
    frame = pd.DataFrame(rows, columns=pd.Index(_COLUMNS))
    figure = draw_curves(frame, "noise level over image side, σ / side", "D = 10 log₁₀(MSE / bound), dB", width=width)
    for ax, (dataset, curves) in zip(figure.axes, curves_by_dataset.items(), strict=True):
        limits, curve = ax.get_xlim(), next(iter(curves.values()))
        # The shade of a level ends halfway to the next level.
        logs = np.log(curve.epsilons)
        edges = np.exp(np.concatenate([[logs[0]], (logs[1:] + logs[:-1]) / 2, [logs[-1]]]))
        for index in np.flatnonzero(curve.bound_collapsed):
            ax.axvspan(edges[index], edges[index + 1], color=_SHADE, linewidth=0, zorder=0)
        slope = optimum_of(results, dataset)[1]
        if slope > WAVELET_SLOPE:
            x = input_psnr(curve.epsilons)
            ax.plot(curve.epsilons, (slope - WAVELET_SLOPE) * (x - x.min()), color=GREY, linestyle=":", zorder=1)
        ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
        ax.set_xlim(limits)
    return figure
