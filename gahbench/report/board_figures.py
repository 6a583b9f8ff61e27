"""The figures of a board: gains, metrics, costs, and PSNR under recorded noise.

Their functions take results, labels of datasets and labels of entrants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gahbench._util.errors import GahbenchError, ParameterError, ResultsError, listing, suggestion
from gahbench._util.readable import level_name
from gahbench.board.estimates import OWN, Entry
from gahbench.board.facts import entrant_kinds
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.evaluation.rates import input_psnr
from gahbench.report import bases
from gahbench.report.cells import fold_label
from gahbench.report.drawing import (
    COLOURS,
    GREY,
    MARKERS,
    PALE,
    WIDTH,
    add_legend,
    create_panels,
    draw_curves,
    draw_dots,
    figure_style,
    grid_columns,
    set_log,
)

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: With more noise levels on a dataset, values are drawn as curves.
MAX_DOT_LEVELS = 3
#: The largest number of entrants in a figure, which shows the best.
MAX_ENTRANTS = 24
SIGMA = "noise level σ, for images in [0, 1]"
BEST = "best possible"
_OPTIMA = ("optimal", "bound")
_BETTER = {True: ", higher is better", False: ", lower is better", None: ""}
_OWN_TITLES = {
    "psnr": "PSNR (dB)",
    "gain_over_noisy": "gain over the noisy images (dB)",
    "deficit": "distance from the best possible (dB)",
    "kl": "Kullback-Leibler divergence (nats per pixel)",
    "slope": "slope of output against input PSNR (dB per dB)",
}
#: Costs: the heading of their panel, and their value.
COSTS: dict[str, Callable[[Entry], float | None]] = {
    "seconds per megapixel": lambda entry: entry.seconds_per_megapixel,
    "parameters": lambda entry: entry.parameters,
    "multiply-adds per pixel": lambda entry: entry.multiply_adds_per_pixel,
    "training images seen": lambda entry: entry.training_images,
}


def board_frame(
    results: Results, datasets: Sequence[str], entrants: Sequence[str], metric: str, part: str = "", mean: bool = False
) -> pd.DataFrame:
    """Return the known values of a metric with their intervals: a row for each dataset, entrant and noise level.

    Means over noise levels, and values of metrics without a noise level, have sigma NaN. Entrants are in order: optima,
    then the best by mean.
    """
    frame = results.board.frame
    frame = frame[(frame["quantity"] == metric) & (frame["part"] == part) & frame["value"].notna()]
    frame = frame[frame["dataset"].isin(datasets) & frame["entrant"].isin(entrants)]
    at_levels = frame[frame["sigma"].notna()]
    frame = frame[frame["sigma"].isna()] if mean or at_levels.empty else at_levels
    kinds = entrant_kinds(results)
    frame = frame.assign(kind=frame["entrant"].map(kinds), place=frame["dataset"].map(list(datasets).index))
    lower_is_better = metric in ("deficit", "kl") or _better(results, metric) is False
    means = frame.groupby("entrant")["value"].mean() * (1 if lower_is_better else -1)
    order = sorted(means.index, key=lambda label: (kinds.get(label) not in _OPTIMA, means[label]))[:MAX_ENTRANTS]
    frame = frame[frame["entrant"].isin(order)]
    frame = frame.assign(order=frame["entrant"].map(order.index))
    return frame.sort_values(["order", "place", "sigma"], kind="stable").reset_index(drop=True)


def _better(results: Results, metric: str) -> bool | None:
    with suppress(GahbenchError):
        if results.registry and (plugin := results.registry().find("metric", parse_metric_name(metric).name)):
            return bool(plugin.factory.higher_is_better) if plugin.factory.higher_is_better is not None else None
    return None


def _draw_frame(results: Results, frame: pd.DataFrame, title: str, width: float, *, zero: bool = False) -> Figure:
    """Draw the values of a frame of :func:`board_frame`: dots for up to three noise levels, else curves."""
    rows, panels = _rows(results, frame), frame["dataset"].map(results.names.dataset)
    references = set(rows[~frame["kind"].isin(PRACTICAL_KINDS)])
    levels = frame["sigma"].map(lambda sigma: "" if math.isnan(sigma) else f"σ = {level_name(sigma)}")
    frame = frame.assign(panel=panels, row=rows, label=rows, x=frame["sigma"])
    per_dataset = frame.groupby("dataset")["sigma"].nunique().max()
    if per_dataset > MAX_DOT_LEVELS or (per_dataset > 1 and levels.nunique() > len(COLOURS)):
        curves = frame.sort_values(["place", "order"], kind="stable")
        return draw_curves(curves, SIGMA, title, width=width, references=references & {BEST})
    if per_dataset == 1 and levels.nunique() > 1:
        frame = frame.assign(panel=panels + frame["sigma"].map(", σ = {:.2g}".format))
        levels = levels.mask(levels != "", "")
    # Rows are in the order of entrants, panels in that of datasets.
    panels_in_order = list(dict.fromkeys(frame.sort_values("place", kind="stable")["panel"]))
    frame = frame.assign(mark=levels, panel=pd.Categorical(frame["panel"], panels_in_order))
    return draw_dots(frame, title, width=width, references=references, zero=zero)


def _rows(results: Results, frame: pd.DataFrame) -> pd.Series[str]:
    """Return the names of entrants; the optimal denoisers of different datasets share a row."""
    is_optimum = frame["kind"].isin(_OPTIMA)
    is_single = frame[is_optimum].groupby("dataset")["entrant"].nunique().le(1).all()
    return frame["entrant"].map(results.names.entrant).mask(is_optimum & bool(is_single), BEST)


def draw_gains(results: Results, datasets: Sequence[str], entrants: Sequence[str], *, width: float = WIDTH) -> Figure:
    """Draw the gain over the baseline, or over the noisy images if the suite has no baseline."""
    frame, title = _gains(results, datasets, entrants)
    figure = _draw_frame(results, frame, title, width, zero=True)
    for ax in figure.axes if frame.groupby("dataset")["sigma"].nunique().max() > MAX_DOT_LEVELS else ():
        ax.axhline(0, color=GREY, linewidth=0.9, zorder=0.9)
        # Curves far below 0 would leave no room for the others.
        low, high = ax.get_ylim()
        ax.set_ylim(max(low, -max(4.0, 1.5 * high)), high)
    return figure


def _gains(
    results: Results, datasets: Sequence[str], entrants: Sequence[str], mean: bool = False
) -> tuple[pd.DataFrame, str]:
    """Return the frame of gains over the baseline, or over the noisy images without a baseline, and their title."""
    frame = board_frame(results, datasets, entrants, "gain_over_baseline", mean=mean)
    title = f"{'mean ' * mean}gain over "
    if not frame.empty:
        is_baseline = frame["entrant"] == results.baseline
        baseline = results.names.entrant_phrase(str(results.baseline))
        return frame if is_baseline.all() else frame[~is_baseline], f"{title}{baseline} (dB)"
    frame = board_frame(results, datasets, entrants, "psnr", mean=mean)
    if frame.empty:
        raise ResultsError(f"no entrant has a PSNR on {listing(datasets)}; expected results with scores")
    means = {name: float(input_psnr(results.board.for_dataset(name).sigmas).mean()) for name in set(frame["dataset"])}
    noisy = frame["dataset"].map(means) if mean else input_psnr(frame["sigma"])
    return frame.assign(
        **{end: frame[end] - noisy for end in ("value", "low", "high")}
    ), f"{title}the noisy images (dB)"


def draw_metric(
    results: Results, datasets: Sequence[str], entrants: Sequence[str], *, metric: str = "psnr", width: float = WIDTH
) -> Figure:
    """Draw a metric, or ``metric.part``: a panel for each dataset."""
    known = known_metrics(results)
    if metric not in known:
        raise ParameterError(f"no values of '{metric}'{suggestion(metric, known) or ';'} accepted: {listing(known)}")
    frame = board_frame(results, datasets, entrants, *known[metric])
    if frame.empty:
        raise ResultsError(f"no values of '{metric}' for these datasets and entrants; choose others, or fewer patterns")
    own = _OWN_TITLES | {"gain_over_baseline": f"gain over {results.names.entrant_phrase(str(results.baseline))} (dB)"}
    better = "" if known[metric][1] or known[metric][0] in OWN else _BETTER[_better(results, metric)]
    titles = dict(zip(results.metrics["metric"], map(str, results.metrics["title"]), strict=True))
    title = (own | titles).get(metric) or f"{metric}{better}"
    return _draw_frame(results, frame, title, width, zero=known[metric][0] in ("deficit", "gain_over_baseline"))


def known_metrics(results: Results) -> dict[str, tuple[str, str]]:
    """Return the metric and part of each name that a figure can show."""
    known = results.board.frame.dropna(subset=["value"])[["quantity", "part"]].drop_duplicates()
    quantities = sorted(known.itertuples(index=False, name=None))
    return {".".join(filter(None, quantity)): quantity for quantity in quantities}


def draw_heat_map(
    results: Results, datasets: Sequence[str], entrants: Sequence[str], *, width: float = WIDTH
) -> Figure:
    """Draw gains of entrants on datasets, means over noise levels; grey where the interval holds 0."""
    frame, title = _gains(results, datasets, entrants, mean=True)
    columns = frame["dataset"].map(results.names.dataset)
    order = list(dict.fromkeys(columns[frame["place"].sort_values(kind="stable").index]))
    frame = frame.assign(panel="", row=_rows(results, frame), column=pd.Categorical(columns, order))
    return bases.draw_matrices(frame, title, width=width, digits=1)


def draw_cost(results: Results, datasets: Sequence[str], entrants: Sequence[str], *, width: float = WIDTH) -> Figure:
    """Draw the mean gain of practical entrants against what they cost, and the Pareto fronts as grey steps."""
    gains, title = _mean_gains(results, datasets, entrants)
    costs: dict[str, dict[str, list[float]]] = {heading: {} for heading in COSTS}
    for entry in results.board.entries:
        for heading, cost in COSTS.items():
            value = cost(entry)
            if entry.entrant in gains and entry.kind in PRACTICAL_KINDS and value and math.isfinite(value):
                costs[heading].setdefault(entry.entrant, []).append(float(value))
    points = {
        heading: {label: (math.fsum(values) / len(values), gains[label][0]) for label, values in of_cost.items()}
        for heading, of_cost in costs.items()
    }
    points = {heading: places for heading, places in points.items() if len({x for x, _ in places.values()}) > 1}
    if not points:
        raise ResultsError("fewer than two entrants have different costs; expected results with measured costs")
    fronts = {heading: pareto_front(places) for heading, places in points.items()}
    named = list(dict.fromkeys(label for front in fronts.values() for label in front))
    ordered = sorted(named, key=lambda label: -gains[label][0])[: len(COLOURS)]
    looks = dict(zip(ordered, zip(COLOURS, MARKERS, strict=True), strict=False))
    with figure_style():
        columns = grid_columns(len(points), int(width / 25.4 / 1.6))
        grid = math.ceil(len(points) / columns), columns
        figure, axes = create_panels(len(points), grid, (width / 25.4, 2.1 * grid[0] + 0.7), sharey=True)
        for ax, (heading, places) in zip(axes, points.items(), strict=True):
            ax.step(
                *zip(*(places[label] for label in fronts[heading]), strict=True), where="post", color=PALE, zorder=1
            )
            for label, (x, y) in places.items():
                colour, marker = looks.get(label, (GREY, "."))
                _, low, high = gains[label]
                ax.plot([x, x], [low, high], color=colour, linewidth=1)
                ax.plot([x], [y], color=colour, marker=marker)
            set_log(ax, "x")
            ax.set_title(heading)
        figure.supylabel(fold_label(title, int(figure.get_figheight() / 0.08)))
        handles = [
            Line2D([], [], color=colour, marker=marker, linestyle="", label=results.names.entrant(label))
            for label, (colour, marker) in looks.items()
        ]
        if {*gains} & {label for places in points.values() for label in places} - {*looks}:
            handles.append(Line2D([], [], color=GREY, marker=".", linestyle="", label="others"))
        add_legend(figure, handles)
    return figure


def _mean_gains(
    results: Results, datasets: Sequence[str], entrants: Sequence[str]
) -> tuple[dict[str, tuple[float, float, float]], str]:
    """Return the mean gain over datasets of entrants that were scored on all of them, with the ends of its interval.

    The interval is unknown for a choice of several datasets that are not all of the board.
    """
    frame, title = _gains(results, datasets, entrants, mean=True)
    overall = {row.entrant: (row.gain.value, row.gain.low, row.gain.high) for row in results.means_over_datasets.rows}
    is_whole = len(datasets) == len(results.board.datasets) and results.board.is_known("gain_over_baseline")
    gains = {}
    for label, rows in frame.groupby("entrant", sort=False):
        if len(rows) == frame["dataset"].nunique():
            low, high = (float(rows[end].iloc[0]) if len(rows) == 1 else math.nan for end in ("low", "high"))
            mean = (float(rows["value"].mean()), low, high)
            gains[str(label)] = overall.get(str(label), mean) if is_whole else mean
    return gains, title


def pareto_front(points: dict[str, tuple[float, float]]) -> list[str]:
    """Return the labels of points (cost, gain) that no other point beats, by increasing cost.

    A point beats another point if it costs no more and gains no less, and is not equal to it.
    """
    front: list[str] = []
    best = (-math.inf, math.inf)
    for label in sorted(points, key=lambda label: (points[label][0], -points[label][1])):
        cost, gain = points[label]
        if gain > best[0] or (cost, gain) == (best[1], best[0]):
            front.append(label)
            best = (gain, cost)
    return front


def draw_transfer(
    results: Results, datasets: Sequence[str], entrants: Sequence[str], *, width: float = WIDTH
) -> Figure:
    """Draw the PSNR of each entrant under recorded noise, and under drawn noise of equal strength."""
    drawn = board_frame(results, datasets, entrants, "transfer-gap", "drawn", mean=True)
    if drawn.empty:
        raise ResultsError("no images with recorded noise; expected results of a suite with the metric transfer-gap")
    recorded = board_frame(results, list(drawn["dataset"].unique()), entrants, "psnr", mean=True)
    frame = pd.concat([recorded.assign(mark="recorded noise"), drawn.assign(mark="drawn noise")])
    frame = frame.assign(
        panel=frame["dataset"].map(results.names.dataset), row=frame["entrant"].map(results.names.entrant)
    )
    return draw_dots(frame, "PSNR (dB)", width=width, zero=False)
