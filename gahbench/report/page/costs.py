"""The cost section of a page: the gain of denoisers against what they cost, with the Pareto front."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from gahbench._util.errors import listing
from gahbench._util.readable import format_number
from gahbench.board.facts import Cost
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.board.statistics import Interval
from gahbench.report.cells import seconds
from gahbench.report.drawing import GREY
from gahbench.report.page.charts import Source, draw_figure, value_text
from gahbench.report.page.svg import Chart, Series

#: Names of points: their size and the mean width of their characters in points.
_NAME_SIZE, _CHARACTER = 7, 3.9
#: The left, lower, right and upper end of a rectangle.
_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Quantity:
    """A cost: its title, its value of a record, and the formats of its values and of ticks, which are round."""

    title: str
    value: Callable[[Cost], float | None]
    text: Callable[[float], str] = format_number
    tick: Callable[[float], str] = lambda value: format_number(value).replace(".0 ", " ")


QUANTITIES = (
    Quantity("multiply-adds per pixel", lambda cost: cost.multiply_adds),
    Quantity("parameters", lambda cost: cost.parameters),
    Quantity("seconds per megapixel", lambda cost: cost.seconds, seconds, "{:g}".format),
    Quantity("training images seen", lambda cost: cost.training_images),
)


@dataclass(frozen=True, eq=False)
class CostSection:
    """Charts and their entrants by dataset, which is empty for means over all datasets, and remarks on them."""

    charts: Mapping[str, Sequence[Chart]]
    entrants: Mapping[str, Sequence[str]]
    remarks: Sequence[str]


def cost_section(source: Source) -> CostSection | None:
    """Return the charts of gain against cost; ``None`` if no cost is known."""
    results = source.results
    costs: dict[str, dict[str, Cost]] = {}
    for entry in results.board.entries:
        if entry.kind in PRACTICAL_KINDS:
            costs.setdefault(entry.entrant, {})[entry.dataset] = entry.cost
    known = {
        quantity: {
            label: by_dataset for label, by_dataset in costs.items() if any(map(_known(quantity), by_dataset.values()))
        }
        for quantity in QUANTITIES
    }
    if not any(known.values()):
        return None
    charts: dict[str, list[Chart]] = {}
    for heading, gains in _gains(source).items():
        drawn = [
            chart
            for quantity, by_entrant in known.items()
            if (chart := _chart(source, quantity, _means(quantity, by_entrant, heading), gains, len(charts)))
        ]
        if drawn:
            charts[heading] = drawn
    entrants = {
        heading: [label for label in source.results.entrants if source.indices[label] in _entrants(drawn)]
        for heading, drawn in charts.items()
    }
    return CostSection(charts, entrants, _remarks(known))


def _entrants(charts: Sequence[Chart]) -> set[int | None]:
    return {series.entrant for chart in charts for series in chart.series.values()}


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
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


def _known(quantity: Quantity) -> Callable[[Cost], bool]:
    return lambda cost: bool(value := quantity.value(cost)) and math.isfinite(value or math.nan)


def _means(quantity: Quantity, costs: Mapping[str, Mapping[str, Cost]], dataset: str) -> dict[str, float]:
    """Return the cost of each entrant on a dataset, or its mean over datasets if ``dataset`` is empty."""
    means = {}
    for label, by_dataset in costs.items():
        chosen = list(by_dataset.values()) if not dataset else [by_dataset.get(dataset, Cost())]
        values = [float(quantity.value(cost) or math.nan) for cost in chosen if _known(quantity)(cost)]
        if values:
            means[label] = math.fsum(values) / len(values)
    return means


def _gains(source: Source) -> dict[str, dict[str, Interval]]:
    """Return gains, or PSNR without a baseline: means over datasets under an empty name, else by dataset."""
    board = source.results.board
    has_gains = source.results.baseline is not None and board.is_known("gain_over_baseline")
    if overall := source.results.means_over_datasets.rows:
        return {"": {row.entrant: row.gain if has_gains else row.psnr for row in overall}}
    metric = "gain_over_baseline" if has_gains else "psnr"
    return {
        part.dataset: {entry.entrant: part.estimate(entry.entrant, metric) for entry in part.entries}
        for part in board.datasets
    }


def _chart(
    source: Source, quantity: Quantity, costs: Mapping[str, float], gains: Mapping[str, Interval], index: int
) -> Chart | None:
    """Return a chart with a point for each entrant; ``None`` if fewer than two costs differ."""
    points = {
        label: (cost, gains[label].value)
        for label, cost in costs.items()
        if label in gains and gains[label].is_known and label in source.styles
    }
    if len({round(cost, 9) for cost, _ in points.values()}) < 2:
        return None
    front, names = pareto_front(points), source.results.names
    baseline = source.results.baseline
    gain = "PSNR (dB)" if baseline is None else f"gain over {names.entrant(baseline)} (dB)"
    prefix = f"cost{index}-{QUANTITIES.index(quantity)}"
    ids = {label: f"{prefix}-{source.style_indices[label]}" for label in points}

    def draw(ax: Axes) -> None:
        steps = [points[label] for label in front]
        ax.step(*zip(*steps, strict=True), where="post", color=GREY, linewidth=1, zorder=1)
        for label, (cost, value) in points.items():
            style = {**source.styles[label], "linestyle": "none"}
            ax.plot([cost], [value], gid=ids[label], zorder=3, **style)
            if math.isfinite(gains[label].low):
                ax.vlines(cost, gains[label].low, gains[label].high, color=style["color"], linewidth=1, zorder=2)
        ax.set_xscale("log")
        _set_ticks(ax, quantity)
        ax.set_xlabel(quantity.title)
        ax.margins(x=0.08)
        _name_points(ax, points, {label: source.curve_names[label] for label in front})

    series = {
        ids[label]: Series(
            names.entrant(label),
            [cost],
            [value_text(gains[label], 2)],
            source.indices[label],
            [f"{quantity.text(cost)} {quantity.title}"],
        )
        for label, (cost, _) in points.items()
    }
    figure, _ = draw_figure(lambda ax: draw(ax))
    note = f"Front: {', '.join(names.entrant(label) for label in front)}"
    return Chart(figure, f"{gain} against {quantity.title}", series, note=note, unit="dB")


def _set_ticks(ax: Axes, quantity: Quantity) -> None:
    """Set about six round ticks on a logarithmic axis: powers of ten, and their multiples on short axes."""
    low, high = ax.get_xlim()
    subs = (1.0,) if high > 200 * low else (1.0, 2.0, 5.0) if high > 4 * low else tuple(range(1, 10))
    ax.xaxis.set_major_locator(LogLocator(subs=subs, numticks=7))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantity.tick(value)))
    ax.xaxis.set_minor_locator(NullLocator())


def _name_points(ax: Axes, points: Mapping[str, tuple[float, float]], names: Mapping[str, str]) -> None:
    """Write names beside points, where they cover neither a point nor another name; leave out names without a place."""
    box = ax.get_window_extent()
    scale = 72 / ax.figure.dpi
    transformed = ax.transData.transform(list(points.values())) - (box.x0, box.y0)
    positions = dict(zip(points, transformed * scale, strict=True))
    taken = [(x - 6, y - 3, x + 6, y + 3) for x, y in positions.values()]
    for label, name in names.items():
        x, y = positions[label]
        width = _CHARACTER * len(name)
        sides = (1, -1) if x < box.width * scale / 2 else (-1, 1)
        for side, above in itertools.product(sides, (5, -11)):
            left, bottom = x + 7 * side - (width if side < 0 else 0), y + above
            place = (left, bottom, left + width, bottom + _NAME_SIZE)
            is_inside = left >= 0 and left + width <= box.width * scale and bottom >= 0
            if is_inside and not any(_overlap(place, other) for other in taken):
                break
        else:
            continue
        taken.append(place)
        ax.annotate(
            name,
            points[label],
            (7 * side, above),
            textcoords="offset points",
            fontsize=_NAME_SIZE,
            horizontalalignment="left" if side > 0 else "right",
        )


def _overlap(first: _Box, second: _Box) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _remarks(known: Mapping[Quantity, Mapping[str, Mapping[str, Cost]]]) -> list[str]:
    """Return sentences on the machine of measured seconds, and on quantities that are unknown or equal for all."""
    remarks = []
    for quantity, costs in known.items():
        values = [cost for by_dataset in costs.values() for cost in by_dataset.values() if _known(quantity)(cost)]
        distinct = np.unique([float(quantity.value(cost) or math.nan) for cost in values])
        if quantity.title == "seconds per megapixel":
            machines = list(dict.fromkeys(cost.machine for cost in values))
            remarks.append(
                f"Seconds were measured on {listing(machines)}."
                if machines
                else "Seconds per megapixel were not measured on this board; a new run measures them."
            )
        elif quantity.title == "training images seen" and len(distinct) == 1 and len(costs) > 1:
            count = f"{distinct[0]:,.0f}".replace(",", " ")
            remarks.append(f"Every network saw {count} noisy images in training.")
    return remarks
