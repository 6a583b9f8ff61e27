"""Curves of training against steps, and of generalization against the number of training images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gahbench._util.errors import ParameterError, ResultsError, listing, suggestion
from gahbench._util.readable import level_name
from gahbench.board.generalization import find_sweeps, metrics_of, sweep_curves
from gahbench.board.selection import is_chosen
from gahbench.contracts.row_labels import base_label
from gahbench.evaluation.rates import input_psnr
from gahbench.report.drawing import GREY, WIDTH, draw_curves
from gahbench.store.plan_file import require_plan
from gahbench.store.store import StoredWeights, stored_weights

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: Finished fits, each with its training history.
Fits = Sequence[tuple[StoredWeights, pd.DataFrame]]
_COLUMNS = ("panel", "label", "x", "value", "low", "high")


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


def draw_training(
    results: Results, datasets: Sequence[str], entrants: Sequence[str], *, folder: Path, width: float = WIDTH
) -> Figure:
    """Draw training loss and validation PSNR against steps: a curve for each training run."""
    rows = []
    stored = histories(folder, datasets, entrants)
    for dataset, fits in stored.items():
        where = results.names.dataset(dataset) if len(stored) > 1 else ""
        for fit, history in fits:
            levels = [name for name in history if str(name).startswith("psnr@")]
            curves = {
                "training loss": history["loss"],
                "validation PSNR (dB), mean over σ": history[levels].mean(axis=1),
            }
            for title, values in curves.items():
                panel, run = f"{where}\n{title}".strip(), f" {fit.seed} {fit.split}"
                points = zip(history["step"], values, strict=True)
                rows += [
                    (panel, results.names.entrant(fit.entrant), *point, math.nan, math.nan, run) for point in points
                ]
    frame = pd.DataFrame(rows, columns=pd.Index([*_COLUMNS, "group"]))
    figure = draw_curves(frame[frame["value"].notna()], "step", "", width=width, log="", has_markers=False)
    for ax in figure.axes[::2]:
        ax.set_yscale("log")
    return figure


def draw_generalization(
    results: Results, datasets: Sequence[str], entrants: Sequence[str], *, width: float = WIDTH
) -> Figure:
    """Draw the PSNR on training and on test images against the noise: a curve for each number of training images.

    The layout follows figure 1 of Kadkhodaie et al. 2024, with two panels for each dataset and entrant.
    """
    rows, pairs = [], _sweeps(results, datasets, entrants)
    labels: dict[int | None, str] = {}
    for dataset, entrant in pairs:
        where = f"{results.names.entrant(entrant)}, {results.names.dataset(dataset)}\n" if len(pairs) > 1 else ""
        for split, images in (("train", "training images"), ("test", "test images")):
            for number, points in sweep_curves(results, dataset, entrant, "psnr", split).items():
                labels[number] = f"N = {'all' if number is None else number}"
                rows += [(where + images, labels[number], sigma, *astuple(point)) for sigma, point in points.items()]
    order = [labels[number] for number in sorted(labels, key=lambda number: math.inf if number is None else number)]
    frame = pd.DataFrame(rows, columns=pd.Index(_COLUMNS))
    frame = frame.assign(label=pd.Categorical(frame["label"], order))
    # Colours darken with the number; the palest colours are skipped.
    colours = sns.color_palette("viridis_r", len(order) + 1)[1:]
    title = "noise level σ, for images in [0, 1]"
    figure = draw_curves(frame, title, "output PSNR (dB)", width=width, colours=colours, share_y=True)
    sigmas = np.array(sorted(set(frame["x"])))
    for ax in figure.axes:
        # The noisy images.
        ax.plot(sigmas, input_psnr(sigmas), color=GREY, linewidth=0.8, zorder=1)
    return figure


def draw_transitions(
    results: Results,
    datasets: Sequence[str],
    entrants: Sequence[str],
    *,
    width: float = WIDTH,
    metrics: Sequence[str] = (),
) -> Figure:
    """Draw metrics of one entrant against its number of training images: a curve for each noise level.

    Dashed lines are the values that chance gives. Panels of shares, cosines and r² have the scale from 0 to 1.
    """
    pair, *others = _sweeps(results, datasets, entrants)
    if others:
        known = listing([f"{entrant} on {dataset}" for dataset, entrant in (pair, *others)])
        raise ParameterError(f"a figure of transitions shows one entrant on one dataset; choose one of {known}")
    titles, nulls = (
        dict(zip(results.metrics["metric"], results.metrics[name], strict=True)) for name in ("title", "null")
    )
    rows: list[tuple[Any, ...]] = []
    for metric in transition_metrics(results, *pair, metrics):
        panel = titles.get(metric) or metric
        for name, is_chance in ((metric, False), (nulls.get(metric), True)):
            for number, points in sweep_curves(results, *pair, name).items() if name else ():
                for sigma, point in points.items():
                    label = "samples" if math.isnan(sigma) else f"σ = {level_name(sigma)}"
                    ends = (math.nan, math.nan) if is_chance else (point.low, point.high)
                    rows.append((panel, "chance" if is_chance else label, number, point.value, *ends, label, sigma))
    frame = pd.DataFrame(rows, columns=pd.Index([*_COLUMNS, "group", "sigma"]))
    levels = frame.sort_values("sigma", kind="stable", na_position="last")["label"]
    frame = frame.assign(label=pd.Categorical(frame["label"], list(dict.fromkeys(levels))))
    frame = frame[frame["value"].notna()]
    # All images of the split are a decade beyond the largest number.
    last = 10 * max((number for number in frame["x"] if not math.isnan(number)), default=0.1)
    has_all = frame["x"].isna().any()
    figure = draw_curves(
        frame.assign(x=frame["x"].fillna(last)), "training images N", "", width=width, references={"chance"}
    )
    for ax, (_, panel) in zip(figure.axes, frame.groupby("panel", sort=False), strict=True):
        if has_all:
            ticks = [tick for tick in ax.get_xticks() if tick < last / 2]
            ax.set_xticks([*ticks, last], [*(f"{tick:g}" for tick in ticks), "all"])
        if panel["value"].between(-0.001, 1.001).all():
            ax.set_ylim(-0.05, 1.05)
    return figure


def _sweeps(results: Results, datasets: Sequence[str], entrants: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of dataset and entrant that were trained on several numbers of images; at least one."""
    bases = {base_label(label) for label in entrants}
    pairs = [pair for pair in find_sweeps(results) if pair[0] in datasets and pair[1] in bases]
    if not pairs:
        raise ResultsError(
            f"none of {listing(sorted(bases))} was trained on several numbers of images of {listing(datasets)}"
        )
    return pairs


def sweep_parts(results: Results) -> Iterator[tuple[str, str]]:
    """Yield the dataset and the entrant of each figure of transitions."""
    try:
        yield from (pair for pair in find_sweeps(results) if transition_metrics(results, *pair))
    except ResultsError:
        return


def transition_metrics(results: Results, dataset: str, entrant: str, chosen: Sequence[str] = ()) -> list[str]:
    """Return the metrics that a figure of transitions shows: the chosen metrics, or all with a title and values."""
    known = metrics_of(results, dataset, entrant)
    for metric in chosen:
        if metric not in known:
            raise ParameterError(
                f"no values of '{metric}'{suggestion(metric, known) or ';'} {entrant} on {dataset} has {listing(known)}"
            )
    return list(chosen) or [metric for metric in results.metrics["metric"] if metric in known]
