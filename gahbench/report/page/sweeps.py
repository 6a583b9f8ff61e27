"""Metrics against the number of training images, and samples beside their closest training images."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from gahbench._util.errors import ResultsError
from gahbench._util.readable import level_name
from gahbench.board.generalization import SweepCurves, course, swept
from gahbench.evaluation.rates import input_psnr
from gahbench.report.contact_sheet import encoded
from gahbench.report.generalization import (
    by_level,
    draw_course,
    draw_transition,
    level_label,
    level_looks,
    number_label,
    number_looks,
    number_places,
    numbers_of,
    transition_metrics,
)
from gahbench.report.page.charts import drawn, value_text
from gahbench.report.page.images import png_address
from gahbench.report.page.source import Source
from gahbench.report.page.svg import Chart, Series
from gahbench.report.sample_pairs import paired_samples, pairs_sheet

#: Characters of the sheets of samples of a page.
MAX_CHARACTERS = 1_200_000
_COLOURS = 32


@dataclass(frozen=True, eq=False)
class Sweep:
    """An entrant that learned from several numbers of images of a dataset, and its figures."""

    dataset: str
    entrant: str
    charts: Sequence[Chart]


@dataclass(frozen=True)
class Sheet:
    """A sheet of samples, as a ``data:`` address, and its size in pixels."""

    title: str
    address: str
    width: int
    height: int


def sweeps(source: Source) -> list[Sweep]:
    """Return the figures of all entrants that learned from several numbers of images."""
    try:
        pairs = swept(source.results)
    except ResultsError:
        return []
    return [Sweep(dataset, entrant, _charts(source, dataset, entrant)) for dataset, entrant in pairs]


def _charts(source: Source, dataset: str, entrant: str) -> list[Chart]:
    results = source.results
    found = [_against_noise(course(results, dataset, entrant, "psnr", split), split) for split in ("train", "test")]
    charts = [chart for chart in found if chart is not None]
    nulls = dict(zip(results.metrics["metric"], results.metrics["null"], strict=True))
    for metric in transition_metrics(results, dataset, entrant):
        values = course(results, dataset, entrant, metric)
        null = course(results, dataset, entrant, nulls[metric]) if nulls.get(metric) else {}
        if values:
            charts.append(_against_number(source, metric, values, null))
    return charts


def _against_noise(found: SweepCurves, split: str) -> Chart | None:
    """Return the PSNR against input PSNR, a curve for each number of images."""
    if not any(len(points) > 1 for points in found.values()):
        return None
    looks = number_looks(numbers_of([found]))
    figure, _ = drawn(lambda ax: _with_legend(ax, lambda: draw_course(ax, found, looks)))
    series = {}
    for place, (number, points) in enumerate(found.items()):
        levels = sorted(points)
        texts = [value_text(points[sigma], 2) for sigma in levels]
        names = [f"σ = {level_name(sigma)}" for sigma in levels]
        series[f"number-{place}"] = Series(number_label(number), input_psnr(levels).tolist(), texts, None, names)
    what = "training" if split == "train" else split
    return Chart(figure, f"output PSNR on {what} images, by number of training images", series, unit="dB")


def _against_number(source: Source, metric: str, found: SweepCurves, null: SweepCurves) -> Chart:
    places = number_places(numbers_of([found]))
    levels = by_level(found, places)
    looks = level_looks([sigma for sigma in sorted(levels) if sigma and not math.isnan(sigma)])
    figure, _ = drawn(lambda ax: _with_legend(ax, lambda: draw_transition(ax, found, null, places, looks)))
    at = {place: number_label(number) for number, place in places.items()}
    series = {
        f"level-{place}": Series(
            level_label(sigma),
            [number for number, _ in values],
            [value_text(point, 3) for _, point in values],
            None,
            [at[number] for number, _ in values],
        )
        for place, (sigma, values) in enumerate(sorted(levels.items()))
    }
    note = ", ".join([*filter(None, [source.better.get(metric, "")]), *(["dotted: by chance"] if null else [])])
    return Chart(figure, source.titles.get(metric) or metric, series, note=note)


def _with_legend(ax: Axes, draw: Callable[[], None]) -> None:
    """Draw, and name the curves within the axes: they are few."""
    draw()
    ax.legend(fontsize=6.5, ncols=2, frameon=False, handlelength=1.8, columnspacing=1.0)


def sample_sheets(source: Source) -> list[Sheet]:
    """Return samples of pairs of networks beside their closest training images, where the folder has them."""
    try:
        found = paired_samples(source.folder)
    except ResultsError:
        return []
    sheets: list[Sheet] = []
    for pair, sets in found.items():
        title = ", ".join(reversed(pair))
        sheet = _sheet(title, pairs_sheet(sets, title, 6))
        if sum(len(one.address) for one in [*sheets, sheet]) <= MAX_CHARACTERS:
            sheets.append(sheet)
    return sheets


def _sheet(title: str, figure: Figure) -> Sheet:
    with Image.open(io.BytesIO(encoded(figure, ".png"))) as picture:
        return Sheet(title, png_address(picture, _COLOURS), picture.width // 2, picture.height // 2)
