"""Curves of training against steps, and of generalization against the number of training images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gahbench._util.errors import ParameterError, ResultsError, listing, suggestion
from gahbench._util.readable import level_name
from gahbench.board.display_names import DisplayNames
from gahbench.board.generalization import SweepCurves, metrics_of, sweep_curves
from gahbench.board.selection import is_chosen
from gahbench.board.statistics import Interval
from gahbench.evaluation.rates import input_psnr
from gahbench.report.cells import fold_label
from gahbench.report.drawing import (
    GREY,
    PALETTE,
    add_caption,
    add_legend,
    create_panels,
    draw_curve,
    figure_style,
    grid_shape,
    split_intervals,
)
from gahbench.store.plan_file import require_plan
from gahbench.store.store import StoredWeights, stored_weights

if TYPE_CHECKING:
    from gahbench.board.results import Results

_MARKERS = "osD^vPX<>"
_DASHES = ("-", "--", ":", "-.")

#: Figures with more panels have smaller panels.
_FEW_PANELS = 9
_SHARES = "shares"

#: Finished fits, each with its training history.
Fits = Sequence[tuple[StoredWeights, pd.DataFrame]]


def histories(
    folder: str | Path, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[str, list[tuple[StoredWeights, pd.DataFrame]]]:
    """Return the finished fits of a folder with their training histories, by dataset."""
    plan = require_plan(Path(folder))
    trained = {unit.entrant for unit in plan.units if unit.kind == "fit"}
    chosen = {label for label in trained if is_chosen(label, entrants)}
    by_dataset: dict[str, list[tuple[StoredWeights, pd.DataFrame]]] = {}
    for fit in stored_weights(Path(folder), plan, chosen):
        if is_chosen(fit.dataset, datasets):
            by_dataset.setdefault(fit.dataset, []).append((fit, pd.read_csv(fit.history)))
    if not by_dataset:
        raise ResultsError(f"{folder}: no finished fits of this dataset and entrant; expected the folder of a run")
    return by_dataset


def training_figure(dataset: str, fits: Fits, names: DisplayNames | None = None) -> Figure:
    """Draw training loss and validation PSNR against steps; colours are entrants, dashes are seeds."""
    names = names or DisplayNames()
    fits = [(replace(fit, entrant=names.entrant(fit.entrant)), history) for fit, history in fits]
    with figure_style():
        figure, (loss, psnr) = create_panels(2, (1, 2), (9.0, 3.4))
        draw_loss(loss, fits)
        draw_validation(psnr, fits)
        loss.set_title("lower is better")
        psnr.set_title("higher is better")
        figure.suptitle(names.dataset(dataset), fontsize=9)
        figure.legend(loc="outside lower center", ncols=min(3, len({fit.entrant for fit, _ in fits})))
    return figure


def draw_loss(ax: Axes, fits: Fits, colours: Mapping[str, str] | None = None) -> None:
    """Draw the training loss against steps; in an SVG the curve of a fit has the ``id`` ``loss-INDEX``."""
    for index, ((_, history), style) in enumerate(zip(fits, _fit_styles(fits, colours), strict=True)):
        ax.plot(history["step"], history["loss"], gid=f"loss-{index}", **style)
    ax.set_yscale("log")
    ax.set(xlabel="step", ylabel="training loss")


def draw_validation(ax: Axes, fits: Fits, colours: Mapping[str, str] | None = None) -> None:
    """Draw the validation PSNR against steps; in an SVG the curve of a fit has the ``id`` ``psnr-INDEX``."""
    for index, ((_, history), style) in enumerate(zip(fits, _fit_styles(fits, colours), strict=True)):
        # The curves of the loss already provide the labels of the shared legend.
        ax.plot(history["step"], validation_psnr(history), gid=f"psnr-{index}", **{**style, "label": None})
    ax.set(xlabel="step", ylabel="validation PSNR (dB), mean over σ")


def validation_psnr(history: pd.DataFrame) -> pd.Series[float]:
    """Return the PSNR on validation images at each recorded step, averaged over noise levels."""
    return history[[name for name in history if str(name).startswith("psnr@")]].mean(axis=1)


def _fit_styles(fits: Fits, colours: Mapping[str, str] | None) -> list[dict[str, Any]]:
    """Return the plot style of each fit; only the first fit of an entrant has a label."""
    labels = list(dict.fromkeys(fit.entrant for fit, _ in fits))
    seeds = list(dict.fromkeys((fit.seed, fit.split) for fit, _ in fits))
    styles: list[dict[str, Any]] = []
    for index, (fit, _) in enumerate(fits):
        default_colour = PALETTE[labels.index(fit.entrant) % len(PALETTE)]
        is_first = all(earlier.entrant != fit.entrant for earlier, _ in fits[:index])
        styles.append(
            {
                "color": default_colour if colours is None else colours.get(fit.entrant, default_colour),
                "linestyle": _DASHES[seeds.index((fit.seed, fit.split)) % len(_DASHES)],
                "marker": ".",
                "label": fit.entrant if is_first else None,
            }
        )
    return styles


def curves_figure(results: Results, pairs: Sequence[tuple[str, str]]) -> Figure:
    """Draw output PSNR on training and on test images against input PSNR, a curve for each number of images.

    The layout follows figure 1 of Kadkhodaie et al. 2024, with a row for each dataset and entrant. Bands are 95 %
    bootstrap intervals.
    """
    names = results.names
    curves = {pair: [sweep_curves(results, *pair, "psnr", split) for split in ("train", "test")] for pair in pairs}
    with figure_style():
        styles = number_styles(numbers_of([curve for both_splits in curves.values() for curve in both_splits]))
        figure, axes = create_panels(2 * len(pairs), (len(pairs), 2), (8.2, 3.5 * len(pairs)), sharey="row")
        for row, ((dataset, entrant), (train, test)) in enumerate(curves.items()):
            left, right = axes[2 * row : 2 * row + 2]
            draw_sweep_curves(left, train, styles)
            draw_sweep_curves(right, test, styles)
            right.set_ylabel("")
            title = fold_label(f"{names.entrant(entrant)}, {names.dataset(dataset)}", 60)
            left.set_title(f"{title}\ntraining images", loc="left")
            right.set_title("test images", loc="left")
        add_legend(figure, axes)
    return figure


def transitions_figure(results: Results, dataset: str, entrant: str, metrics: Sequence[str]) -> Figure:
    """Draw metrics against the number of training images: a panel for each metric, a curve for each noise level.

    Panels of shares, cosines and r² share one scale, and so do panels of distances.
    """
    titles, nulls = (
        dict(zip(results.metrics["metric"], results.metrics[name], strict=True)) for name in ("title", "null")
    )
    curves = {metric: sweep_curves(results, dataset, entrant, metric) for metric in metrics}
    curves = {metric: by_number for metric, by_number in curves.items() if by_number}
    limits = shared_limits(titles, [curves])
    rows, columns = grid_shape(len(curves), 3 if len(curves) <= _FEW_PANELS else 6)
    positions = number_positions(numbers_of(list(curves.values())))
    with figure_style():
        sigmas = sorted({sigma for by_number in curves.values() for points in by_number.values() for sigma in points})
        styles = level_styles([sigma for sigma in sigmas if not math.isnan(sigma)])
        size = (3.0, 2.5) if len(curves) <= _FEW_PANELS else (2.1, 1.75)
        figure, axes = create_panels(len(curves), (rows, columns), (size[0] * columns + 1.2, size[1] * rows + 0.4))
        for ax, (metric, by_number) in zip(axes, curves.items(), strict=True):
            null = sweep_curves(results, dataset, entrant, nulls[metric]) if nulls.get(metric) else {}
            draw_transition(ax, by_number, null, positions, styles)
            ax.set_ylim(limits[metric])
            ax.set_title(fold_label(titles.get(metric, metric), 42 if len(curves) <= _FEW_PANELS else 26), loc="left")
            if len(curves) > _FEW_PANELS:
                ax.title.set_fontsize(7)
                ax.tick_params(labelsize=7)
                ax.set_xlabel("")
        caption = f"{results.names.entrant(entrant)}, {results.names.dataset(dataset)}, against training images N"
        add_caption(figure, fold_label(caption, 45 * columns))
        add_legend(figure, axes)
    return figure


def shared_limits(
    titles: Mapping[str, str], sweeps: Sequence[Mapping[str, SweepCurves]]
) -> dict[str, tuple[float, float]]:
    """Return the limits of the vertical axis of each metric, shared by sweeps and by metrics of the same unit.

    Shares, cosines and r² have one scale, from 0 (or their smallest value) to 1, and distances have another; every
    other metric has its own.
    """
    ends: dict[str, list[float]] = {}
    for curves in sweeps:
        for metric, by_number in curves.items():
            scale = _scale_of(titles.get(metric) or metric)
            for point in (point for points in by_number.values() for point in points.values()):
                # Intervals of shares are cut at the ends of the scale.
                known = [point.value] if scale == _SHARES else [point.value, point.low, point.high]
                ends.setdefault(scale, []).extend(value for value in known if math.isfinite(value))
    ends[_SHARES] = [*ends.get(_SHARES, []), 0.0, 1.0]
    return {
        metric: _padded(ends.get(_scale_of(titles.get(metric) or metric), [0.0]))
        for curves in sweeps
        for metric in curves
    }


def _scale_of(title: str) -> str:
    """Return the scale of a metric: that of shares or distances, or the title of a metric with its own scale."""
    if any(word in title for word in ("cosine", "r²", "share", "π", "memorized", "duplicates")):
        return _SHARES
    return "distances" if title.startswith("distance from") else title


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def transition_metrics(results: Results, dataset: str, entrant: str, chosen: Sequence[str] | None = None) -> list[str]:
    """Return the metrics that a figure of transitions shows: the chosen metrics, or all with a title and values."""
    known = metrics_of(results, dataset, entrant)
    for metric in chosen or ():
        if metric not in known:
            raise ParameterError(
                f"no values of '{metric}'{suggestion(metric, known) or ';'} {entrant} on {dataset} has {listing(known)}"
            )
    return list(chosen) if chosen else [metric for metric in results.metrics["metric"] if metric in known]


def number_label(number: int | None) -> str:
    """Return the label of a number of training images in figures."""
    return f"N = {'all' if number is None else number}"


def number_styles(numbers: Sequence[int | None]) -> dict[int | None, dict[str, Any]]:
    """Return the plot style of each number of images: colours darken with the number, and markers differ."""
    # The palest colours of the map are skipped.
    colours = matplotlib.colormaps["viridis_r"](np.linspace(0, 1, len(numbers) + 3)[2:-1])
    return {
        number: {"color": tuple(colour), "marker": _MARKERS[index % len(_MARKERS)]}
        for index, (number, colour) in enumerate(zip(numbers, colours, strict=True))
    }


def numbers_of(curves: Sequence[SweepCurves]) -> list[int | None]:
    """Return the numbers of training images of all curves, ascending; ``None``, all images of the split, comes last."""
    numbers = {number for by_number in curves for number in by_number}
    return sorted(numbers, key=lambda number: math.inf if number is None else number)


def level_styles(sigmas: Sequence[float]) -> dict[float, dict[str, Any]]:
    """Return the plot style of each noise level."""
    return {
        sigma: {"color": PALETTE[index % len(PALETTE)], "marker": _MARKERS[index % len(_MARKERS)]}
        for index, sigma in enumerate(sigmas)
    }


def draw_sweep_curves(ax: Axes, curves: SweepCurves, styles: Mapping[int | None, dict[str, Any]]) -> None:
    """Draw output PSNR against input PSNR, a curve for each number of images, and the line output = input."""
    for index, (number, points) in enumerate(curves.items()):
        levels = sorted(points)
        curve = split_intervals([points[sigma] for sigma in levels])
        draw_curve(ax, input_psnr(levels), curve, number_label(number), styles[number], gid=f"number-{index}")
    if sigmas := [sigma for points in curves.values() for sigma in points]:
        span = np.array([input_psnr(max(sigmas)), input_psnr(min(sigmas))])
        ax.plot(span, span, color=GREY, linewidth=0.8, zorder=1, label="output = input")
    ax.set_xlabel("input PSNR (dB)")
    ax.set_ylabel("output PSNR (dB)")


def number_positions(numbers: Sequence[int | None]) -> dict[int | None, float]:
    """Return the positions of numbers of images on their axis; ``None`` is a decade beyond the largest number."""
    limited = [number for number in numbers if number is not None]
    return {number: number if number is not None else 10 * max(limited, default=0.1) for number in numbers}


def group_by_level(
    curves: SweepCurves, positions: Mapping[int | None, float]
) -> dict[float, list[tuple[float, Interval]]]:
    """Return points with their positions on the axis of numbers of images, by noise level, which is 0 if absent."""
    levels: dict[float, list[tuple[float, Interval]]] = {}
    for number, points in curves.items():
        for sigma, point in points.items():
            levels.setdefault(0.0 if math.isnan(sigma) else sigma, []).append((positions[number], point))
    return levels


def draw_transition(
    ax: Axes,
    curves: SweepCurves,
    null: SweepCurves,
    positions: Mapping[int | None, float],
    styles: Mapping[float, dict[str, Any]],
) -> None:
    """Draw a metric against the number of training images, a curve for each noise level, and the chance level."""
    for index, (sigma, values) in enumerate(sorted(group_by_level(curves, positions).items())):
        numbers, points = zip(*values, strict=True)
        style = styles.get(sigma, {"color": "black", "marker": "o"})
        x = np.array(numbers, dtype=np.float64)
        draw_curve(ax, x, split_intervals(points), level_label(sigma), style, gid=f"level-{index}")
    for values in group_by_level(null, positions).values():
        numbers, points = zip(*values, strict=True)
        ax.plot(numbers, [point.value for point in points], color=GREY, linestyle=":", label="chance")
    ax.set_xscale("log")
    ax.set_xticks(list(positions.values()), [_tick_label(number) for number in positions])
    ax.minorticks_off()
    ax.set_xlabel("training images N")


def level_label(sigma: float) -> str:
    """Return the label of a noise level in figures; 0 stands for no noise level."""
    return f"σ = {level_name(sigma)}" if sigma else "samples"


def _tick_label(number: int | None) -> str:
    if number is None:
        return "all"
    return f"{number // 1000} k" if number >= 1000 and number % 1000 == 0 else str(number)
