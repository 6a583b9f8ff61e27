"""Figures of boards: gains, metrics, agreement with bases, costs, and curves of training and of its number of images.

Their functions take results, labels of datasets and labels of entrants.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import seaborn.objects as so
from matplotlib.figure import Figure

from gahbench._util.errors import GahbenchError, ParameterError, ResultsError, listing
from gahbench._util.readable import level_name
from gahbench.board.display_names import basis_names
from gahbench.board.generalization import find_sweeps, metrics_of, sweep_curves
from gahbench.board.metric_names import MEASURES, TRUTH, parse_agreement, parse_metric_name
from gahbench.board.ranks import MIN_DATASETS, PRACTICAL_KINDS
from gahbench.board.results import Results
from gahbench.board.tables import entrant_kinds
from gahbench.contracts.row_labels import base_label, choose_labels
from gahbench.evaluation.rates import input_psnr
from gahbench.report import drawing
from gahbench.report.drawing import COLOURS, GREY, PALE, WIDTH, Labels
from gahbench.store.plan_file import require_plan
from gahbench.store.store import stored_weights

#: With more noise levels on a dataset, values are drawn as curves.
MAX_DOT_LEVELS = 3
#: The largest number of entrants in a figure, which shows the best.
MAX_ENTRANTS = 24
SIGMA = "noise level σ, for images in [0, 1]"
BEST = "best possible"
_OPTIMA = ("optimal", "bound")
_ENDS = ["value", "low", "high"]
_TITLES = {
    "psnr": "PSNR (dB)",
    "gain_over_noisy": "gain over the noisy images (dB)",
    "deficit": "distance from the best possible (dB)",
    "kl": "Kullback-Leibler divergence (nats per pixel)",
    "slope": "slope of output against input PSNR (dB per dB)",
}
_COST_HEADS = {
    "seconds_per_megapixel": "seconds per megapixel",
    "parameters": "parameters",
    "multiply_adds_per_pixel": "multiply-adds per pixel",
    "training_images": "training images seen",
}


def board_frame(
    results: Results, datasets: Labels, entrants: Labels, metric: str, part: str = "", mean: bool = False
) -> pd.DataFrame:
    """Return the known values of a metric with their intervals: a row for each dataset, entrant and noise level.

    Means over noise levels, and values of metrics without a noise level, have sigma NaN. Names of datasets are in the
    column ``panel``. Those of entrants are in ``row``, in order: optima, then the best by mean.
    """
    frame = results.board.select(datasets, entrants).frame
    frame = frame[(frame["quantity"] == metric) & (frame["part"] == part) & frame["value"].notna()]
    at_levels = frame[frame["sigma"].notna()]
    frame = frame[frame["sigma"].isna()] if mean or at_levels.empty else at_levels
    kinds = entrant_kinds(results)
    means = frame.groupby("entrant")["value"].mean() * (1 if _is_lower_better(results, metric) else -1)
    order = sorted(means.index, key=lambda label: (kinds.get(label) not in _OPTIMA, means[label]))[:MAX_ENTRANTS]
    frame = frame[frame["entrant"].isin(order)]
    frame = frame.assign(kind=frame["entrant"].map(kinds))
    # The optimal denoisers of different datasets share a row.
    is_optimum = frame["kind"].isin(_OPTIMA)
    is_shared = is_optimum & bool(frame[is_optimum].groupby("dataset")["entrant"].nunique().le(1).all())
    names = dict(zip(frame["entrant"], frame["entrant"].map(results.names.entrant).mask(is_shared, BEST), strict=True))
    shown = dict.fromkeys(results.names.dataset(name) for name in datasets if name in set(frame["dataset"]))
    frame = frame.assign(
        panel=pd.Categorical(frame["dataset"].map(results.names.dataset), list(shown)),
        row=pd.Categorical(frame["entrant"].map(names), list(dict.fromkeys(names[label] for label in order))),
    )
    return frame.sort_values(["panel", "row", "sigma"], kind="stable").reset_index(drop=True)


def _is_lower_better(results: Results, metric: str) -> bool:
    with suppress(GahbenchError):
        if results.registry and (plugin := results.registry().find("metric", parse_metric_name(metric).name)):
            return plugin.factory.higher_is_better is False
    return metric in ("deficit", "kl")


def _draw_frame(results: Results, frame: pd.DataFrame, title: str, width: float, *, zero: bool = False) -> Figure:
    """Draw the values of a frame of :func:`board_frame`: dots for up to three noise levels, else curves."""
    levels = frame["sigma"].map(lambda sigma: "" if math.isnan(sigma) else f"σ = {level_name(sigma)}")
    per_dataset = frame.groupby("dataset")["sigma"].nunique().max()
    if per_dataset > MAX_DOT_LEVELS or (per_dataset > 1 and levels.nunique() > len(COLOURS)):
        curves = frame.assign(label=frame["row"], x=frame["sigma"])
        return drawing.draw_curves(curves, SIGMA, title, width=width, references={BEST})
    frame = frame.assign(mark=levels)
    if per_dataset == 1 and levels.nunique() > 1:
        frame = frame.assign(mark="", panel=frame["panel"].astype(str) + frame["sigma"].map(", σ = {:.2g}".format))
    references = set(frame["row"][~frame["kind"].isin(PRACTICAL_KINDS)])
    return drawing.draw_dots(frame, title, width=width, references=references, zero=zero)


def draw_gains(results: Results, datasets: Labels, entrants: Labels, *, width: float = WIDTH) -> Figure:
    """Draw the gain over the baseline, or over the noisy images if the suite has no baseline."""
    frame, title = _gains(results, datasets, entrants)
    figure = _draw_frame(results, frame, title, width, zero=True)
    for ax in figure.axes if frame.groupby("dataset")["sigma"].nunique().max() > MAX_DOT_LEVELS else ():
        ax.axhline(0, color=GREY, linewidth=0.9, zorder=0.9)
        # Curves far below 0 would leave no room for the others.
        low, high = ax.get_ylim()
        ax.set_ylim(max(low, -max(4.0, 1.5 * high)), high)
    return figure


def _gains(results: Results, datasets: Labels, entrants: Labels, mean: bool = False) -> tuple[pd.DataFrame, str]:
    """Return the frame of gains over the baseline, or over the noisy images without a baseline, and their title."""
    frame = board_frame(results, datasets, entrants, "gain_over_baseline", mean=mean)
    prefix = "mean " * mean
    if not frame.empty:
        is_baseline = frame["entrant"] == results.baseline
        frame = frame if is_baseline.all() else frame[~is_baseline]
        frame = frame.assign(row=frame["row"].cat.remove_unused_categories())
        return frame, f"{prefix}{_over_baseline(results)}"
    frame = board_frame(results, datasets, entrants, "psnr", mean=mean)
    if frame.empty:
        raise ResultsError(f"no entrant has a PSNR on {listing(datasets)}; expected results with scores")
    noisy = {
        board.dataset: float(np.mean(input_psnr(board.sigmas))) for board in results.board.datasets if board.sigmas
    }
    frame[_ENDS] = frame[_ENDS].sub(frame["dataset"].map(noisy) if mean else input_psnr(frame["sigma"]), axis=0)
    return frame, f"{prefix}gain over the noisy images (dB)"


def _over_baseline(results: Results) -> str:
    return f"gain over {results.names.entrant(str(results.baseline), in_sentence=True)} (dB)"


def draw_metric(results: Results, datasets: Labels, entrants: Labels, *, metric: str, width: float = WIDTH) -> Figure:
    """Draw a metric, or ``metric.part``: a panel for each dataset."""
    quantity, part = known_metrics(results).get(metric, (metric, ""))
    frame = board_frame(results, datasets, entrants, quantity, part)
    if frame.empty:
        raise ResultsError(f"no values of '{metric}' for these datasets and entrants; choose others, or fewer patterns")
    titles = dict(zip(results.metrics["metric"], map(str, results.metrics["title"]), strict=True))
    titles = {**_TITLES, "gain_over_baseline": _over_baseline(results), **titles}
    is_difference = quantity in ("deficit", "gain_over_baseline")
    return _draw_frame(results, frame, titles.get(metric) or metric, width, zero=is_difference)


def known_metrics(results: Results) -> dict[str, tuple[str, str]]:
    """Return the metric and part of each name that a figure can show."""
    known = results.board.frame.dropna(subset=["value"])[["quantity", "part"]].drop_duplicates()
    return {".".join(filter(None, pair)): pair for pair in sorted(known.itertuples(index=False, name=None))}


def draw_heat_map(results: Results, datasets: Labels, entrants: Labels, *, width: float = WIDTH) -> Figure:
    """Draw gains of entrants on datasets, means over noise levels; grey where the interval holds 0."""
    frame, title = _gains(results, datasets, entrants, mean=True)
    if (count := frame["dataset"].nunique()) < MIN_DATASETS:
        raise ResultsError(f"{count} datasets; a heat map accepts at least {MIN_DATASETS}, 'gains' any number")
    return drawing.draw_matrices(frame.assign(panel="", column=frame["panel"]), title, width=width, digits=1)


def draw_bases(results: Results, datasets: Labels, entrants: Labels, *, width: float = WIDTH) -> Figure:
    """Draw the direction, or else the alignment, of each denoiser with each basis: a table for each dataset."""
    board = results.board.select(datasets, entrants).frame
    board = board[(board["part"] == "") & board["value"].notna()]
    parsed = {name: parse_agreement(str(name)) for name in board["quantity"].unique()}
    for measure in MEASURES:
        bases = {name: each[1] for name, each in parsed.items() if each and each[0] == measure}
        frame = board[board["quantity"].isin(bases)]
        if frame.empty:
            continue
        # Values are means over noise levels, or at the level at which most values are known.
        level = frame["sigma"].mode(dropna=False).sort_values(na_position="first").iloc[0]
        frame = frame[frame["sigma"].isna() if math.isnan(level) else frame["sigma"] == level]
        found = sorted(dict.fromkeys(frame["quantity"].map(bases)), key=lambda name: name != TRUTH)
        names = {name: name for name in found}
        names |= basis_names(results.registry(), found) if results.registry else {}
        panel, column = frame["dataset"].map(results.names.dataset), frame["quantity"].map(bases).map(names)
        frame = frame.assign(
            row=frame["entrant"].map(results.names.entrant),
            panel=pd.Categorical(panel, panel.unique()),
            column=pd.Categorical(column, list(dict.fromkeys(names.values()))),
        )
        label = f"{measure} (cosine)"
        if len(found) == 1:
            frame, label = frame.assign(column=frame["panel"], panel=""), f"{measure} with {names[found[0]]} (cosine)"
        at = "mean over noise levels" if math.isnan(level) else f"σ = {level_name(level)}"
        return drawing.draw_matrices(frame, f"{label}, {at}", width=width, limit=1.0)
    raise ResultsError(
        f"'{results.suite}' has no agreement of the chosen entrants and datasets; expected results of a suite with the "
        "metrics direction[BASIS], alignment[BASIS], truth-direction or truth-alignment"
    )


def draw_cost(results: Results, datasets: Labels, entrants: Labels, *, width: float = WIDTH) -> Figure:
    """Draw the mean gain of practical entrants against what they cost, and the Pareto fronts as grey steps."""
    gains, title = _mean_gains(results, datasets, entrants)
    entries = pd.DataFrame(map(vars, results.board.entries))
    entries = entries[entries["kind"].isin(PRACTICAL_KINDS) & entries["entrant"].isin(gains.index)]
    costs = entries.astype(dict.fromkeys(_COST_HEADS, float)).groupby("entrant")[list(_COST_HEADS)].mean()
    frame = costs.rename(columns=_COST_HEADS).melt(var_name="panel", value_name="x", ignore_index=False).join(gains)
    frame = frame[frame["x"].between(0, math.inf, inclusive="neither")].reset_index()
    frame = frame[frame.groupby("panel")["x"].transform("nunique") > 1]
    if frame.empty:
        raise ResultsError("fewer than two entrants have different costs; expected results with measured costs")
    fronts = [pareto_front(points) for _, points in frame.groupby("panel", sort=False)]
    named = gains[gains.index.isin(pd.concat(fronts)["entrant"])].nlargest(len(COLOURS), "value").index
    names = {label: results.names.entrant(label) for label in named}
    frame = frame.assign(label=frame["entrant"].map(names).fillna("others"))
    looks = drawing.looks_of([*names.values()]) | {"others": {"color": GREY, "marker": "."}}
    looks = {label: look | {"linestyle": ""} for label, look in looks.items() if label in set(frame["label"])}
    plot = (
        so.Plot(frame, x="x", y="value", color="label", marker="label")
        .add(so.Range(linewidth=1), ymin="low", ymax="high", legend=False)
        .add(so.Dot(pointsize=5, edgewidth=0), legend=False)
        .share(x=False)
    )
    figure = drawing.draw_panels(plot, frame["panel"], looks, "", title, width=width, panel=(1.6, 2.0))
    for ax, front in zip(figure.axes, fronts, strict=True):
        ax.step(front["x"], front["value"], where="post", color=PALE, linewidth=1.2, zorder=1)
        drawing.set_log(ax, "x")
    return figure


def _mean_gains(results: Results, datasets: Labels, entrants: Labels) -> tuple[pd.DataFrame, str]:
    """Return the mean gain over datasets of entrants scored on all, with intervals for all datasets of a board."""
    frame, title = _gains(results, datasets, entrants, mean=True)
    count = frame["dataset"].nunique()
    frame = frame[frame.groupby("entrant")["dataset"].transform("nunique") == count]
    gains = frame.groupby("entrant", sort=False)[_ENDS].mean()
    if count > 1:
        gains[["low", "high"]] = math.nan
        is_whole = len(datasets) == len(results.board.datasets) and results.board.is_known("gain_over_baseline")
        if is_whole:
            means = (
                results.over_datasets().set_index("entrant").filter(like="gain_over_baseline").set_axis(_ENDS, axis=1)
            )
            gains.update(means, errors="ignore")
    return gains, title


def pareto_front(points: pd.DataFrame) -> pd.DataFrame:
    """Return the points that no other point beats, by increasing cost ``x``; of equal points, the first.

    A point beats another point if it costs no more and its gain ``value`` is no less, and is not equal to it.
    """
    ordered = points.sort_values(["x", "value"], ascending=[True, False], kind="stable")
    return ordered[~(ordered["value"] <= ordered["value"].cummax().shift())]


def draw_transfer(results: Results, datasets: Labels, entrants: Labels, *, width: float = WIDTH) -> Figure:
    """Draw the PSNR of each entrant under recorded noise, and under drawn noise of equal strength."""
    drawn = board_frame(results, datasets, entrants, "transfer-gap", "drawn", mean=True)
    if drawn.empty:
        raise ResultsError("no images with recorded noise; expected results of a suite with the metric transfer-gap")
    recorded = board_frame(results, list(drawn["dataset"].unique()), entrants, "psnr", mean=True)
    frame = pd.concat([recorded.assign(mark="recorded noise"), drawn.assign(mark="drawn noise")])
    frame["row"] = frame["entrant"].map(results.names.entrant)
    return drawing.draw_dots(frame, "PSNR (dB)", width=width, zero=False)


def draw_training(
    results: Results, datasets: Labels, entrants: Labels, *, folder: Path | None = None, width: float = WIDTH
) -> Figure:
    """Draw training loss and validation PSNR against steps: a curve for each training run."""
    if folder is None:
        raise ResultsError("curves of training are in the folder of a run; expected folder=PATH")
    fits = stored_weights(Path(folder), require_plan(Path(folder)), {*entrants})
    order, frames = [fit.dataset for fit in fits if fit.dataset in datasets], []
    if not order:
        raise ResultsError(f"{folder}: no finished fits of this dataset and entrant; expected the folder of a run")
    for fit in (fit for name in dict.fromkeys(order) for fit in fits if fit.dataset == name):
        where = f"{results.names.dataset(fit.dataset)}\n" if len(set(order)) > 1 else ""
        history = pd.read_csv(fit.history)
        curves = {
            f"{where}training loss": history["loss"],
            f"{where}validation PSNR (dB), mean over σ": history.filter(regex="^psnr@").mean(axis=1),
        }
        frame = pd.DataFrame({"x": history["step"], **curves}).melt("x", var_name="panel").dropna()
        frames.append(frame.assign(label=results.names.entrant(fit.entrant), group=f"{fit.seed} {fit.split}"))
    figure = drawing.draw_curves(pd.concat(frames), "step", "", width=width, log="")
    for ax in figure.axes[::2]:
        ax.set_yscale("log")
    return figure


def draw_generalization(results: Results, datasets: Labels, entrants: Labels, *, width: float = WIDTH) -> Figure:
    """Draw the PSNR on training and on test images against the noise: a curve for each number of training images.

    The layout follows figure 1 of Kadkhodaie et al. 2024, with two panels for each dataset and entrant.
    """
    frames, pairs = [], _sweeps(results, datasets, entrants)
    for dataset, entrant in pairs:
        where = f"{results.names.entrant(entrant)}, {results.names.dataset(dataset)}\n" if len(pairs) > 1 else ""
        for split in ("train", "test"):
            panel = f"{where}{split.replace('train', 'training')} images"
            frames.append(_sweep_frame(results, dataset, entrant, "psnr", split, panel=panel))
    # Frames without rows, such as those of training images that were not scored, have columns without a type.
    frame = pd.concat([frame for frame in frames if len(frame)] or frames)
    labels = {size: f"N = {'all' if math.isinf(size) else f'{size:g}'}" for size in sorted(set(frame["size"]))}
    frame = frame.assign(x=frame["sigma"], label=pd.Categorical(frame["size"].map(labels), [*labels.values()]))
    # Colours darken with the number; the palest colours are skipped.
    colours = sns.color_palette("viridis_r", len(labels) + 1)[1:]
    figure = drawing.draw_curves(frame, SIGMA, "output PSNR (dB)", width=width, colours=colours, share_y=True)
    sigmas = np.array(sorted(set(frame["x"])))
    for ax in figure.axes:
        # The noisy images.
        ax.plot(sigmas, input_psnr(sigmas), color=GREY, linewidth=0.8, zorder=1)
    return figure


def draw_transitions(
    results: Results, datasets: Labels, entrants: Labels, *, width: float = WIDTH, metrics: Sequence[str] = ()
) -> Figure:
    """Draw metrics of one entrant against its number of training images: a curve for each noise level.

    Dashed lines are the values that chance gives. Panels of shares, cosines and r² have the scale from 0 to 1.
    """
    pair, *others = _sweeps(results, datasets, entrants)
    if others:
        known = listing([f"{entrant} on {dataset}" for dataset, entrant in (pair, *others)])
        raise ParameterError(f"a figure of transitions shows one entrant on one dataset; choose one of {known}")
    facts, frames = results.metrics.set_index("metric"), []
    for metric in transition_metrics(results, *pair, metrics):
        panel, chance = facts["title"].get(metric) or metric, facts["null"].get(metric)
        frames.append(_sweep_frame(results, *pair, metric, panel=panel))
        if chance:
            nulls = _sweep_frame(results, *pair, chance, panel=panel, label="chance")
            frames.append(nulls.drop(columns=["low", "high"]))
    frame = pd.concat(frames)
    panels = drawing.order_of(frame["panel"])
    frame = frame.sort_values("sigma", kind="stable", na_position="last")
    frame["group"] = frame["sigma"].map(lambda sigma: "samples" if math.isnan(sigma) else f"σ = {level_name(sigma)}")
    # All images of the split are a decade beyond the largest number.
    is_all = np.isinf(frame["size"])
    last = 10 * frame["size"][~is_all].max()
    labels = frame["label"].fillna(frame["group"])
    frame = frame.assign(x=frame["size"].mask(is_all, last), label=labels, panel=pd.Categorical(frame["panel"], panels))
    figure = drawing.draw_curves(frame, "training images N", "", width=width, references={"chance"})
    for ax, (_, values) in zip(figure.axes, frame.groupby("panel", observed=True)["value"], strict=True):
        if is_all.any():
            ticks = [tick for tick in ax.get_xticks() if tick < last / 2]
            ax.set_xticks([*ticks, last], [*(f"{tick:g}" for tick in ticks), "all"])
        if values.between(-0.001, 1.001).all():
            ax.set_ylim(-0.05, 1.05)
    return figure


def _sweeps(results: Results, datasets: Labels, entrants: Labels) -> list[tuple[str, str]]:
    """Return the pairs of dataset and entrant that were trained on several numbers of images; at least one."""
    bases = {base_label(label) for label in entrants}
    pairs = [pair for pair in find_sweeps(results) if pair[0] in datasets and pair[1] in bases]
    if not pairs:
        raise ResultsError(
            f"none of {listing(sorted(bases))} was trained on several numbers of images of {listing(datasets)}"
        )
    return pairs


def _sweep_frame(
    results: Results, dataset: str, entrant: str, metric: str, split: str = "test", *, panel: str, label: Any = None
) -> pd.DataFrame:
    """Return the known values of a metric by number of training images, infinite for all, and noise level."""
    rows = [
        (math.inf if number is None else number, sigma, *astuple(point), panel, label)
        for number, points in sweep_curves(results, dataset, entrant, metric, split).items()
        for sigma, point in points.items()
        if point.is_known
    ]
    return pd.DataFrame(rows, columns=pd.Index(["size", "sigma", "value", "low", "high", "panel", "label"]))


def transition_metrics(results: Results, dataset: str, entrant: str, chosen: Sequence[str] = ()) -> list[str]:
    """Return the metrics that a figure of transitions shows: the chosen metrics, or all with a title and values."""
    known = metrics_of(results, dataset, entrant)
    shown = [metric for pattern in chosen for metric in choose_labels([pattern], known, "metric")]
    return shown or [metric for metric in results.metrics["metric"] if metric in known]
