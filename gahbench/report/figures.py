"""The table of kinds of figures, which files, pages, notebooks and ``gahbench draw`` share.

A new figure is a function of results, labels of datasets and labels of entrants, and a line of :data:`FIGURES`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from gahbench._util.errors import GahbenchError, ParameterError, ResultsError, listing, suggestion
from gahbench._util.files import read_regular
from gahbench.board.generalization import find_sweeps
from gahbench.board.results import Results
from gahbench.contracts.row_labels import choose_labels
from gahbench.report import board_figures as board
from gahbench.report import rates
from gahbench.report.cells import data_url, file_stems
from gahbench.report.drawing import Labels, encode

#: The largest figure of a folder that is read, in bytes.
MAX_BYTES = 4_000_000


class Kind(NamedTuple):
    """A kind of figure: how it is drawn, what it shows, how to read it, and the section of pages that shows it.

    Parameters
    ----------
    draw
        Function of results, labels of datasets, labels of entrants, and ``width`` in millimetres, that returns the
        figure, or raises ``GahbenchError`` without values. Its other keyword arguments are options.
    section
        Empty if the figure is drawn on request only, and ``folder`` if pages leave it out.
    each
        What has a figure of its own: a ``dataset``, or a dataset and entrant of a ``sweep``; empty for the whole board.
    """

    draw: Callable[..., Figure]
    title: str
    caption: str
    section: str = ""
    each: str = ""


class Published(NamedTuple):
    """A figure of published results: its file name without suffix, its title, its kind, and its SVG."""

    name: str
    title: str
    kind: Kind
    svg: bytes

    @property
    def url(self) -> str:
        """The SVG as a ``data:`` URL, whose scripts never run."""
        return data_url(self.svg, "svg+xml")


_BARS = "Bars and bands are the 95 % intervals of the board."
_REFERENCES = "Names in italics are references, which see the clean image or bound what is possible."
_HEAT_MAP = "Means over noise levels: blue above 0, orange below; grey numbers are not decided by their intervals."
_DISTANCES = "Mean squared error above that of the optimum, or of a bound on it, in decibels."
_COST = "Steps are the Pareto fronts: no denoiser gains more at the same cost or less. Bars are 95 % intervals."
_TRANSFER = "PSNR under recorded and under drawn noise of equal strength"
_BASES = "Cosines with filters in each basis: 1 for the same directions, 0 for none. Grey: the interval holds 0."
_OPTIMALITY = (
    "A denoiser with the optimal rate has a flat curve, one with the rate of wavelets follows the dotted line. The "
    "bound has collapsed in the shaded range: there, more pixels do not change it."
)
_SWEEP = "PSNR on training and on test images, by the number N of training images"
_TRANSITIONS = "Metrics against the number of training images"
_CHANCE = "Dashed lines are the values that chance gives."
_RATES = (
    "Dashed: the optimal slope. Dotted: 1/2, the slope of wavelets on images with edges. In the shaded window, a slope "
    "is a rate."
)
_draw_distances = functools.partial(board.draw_metric, metric="deficit")
FIGURES: dict[str, Kind] = {
    "gains": Kind(board.draw_gains, "Gains", f"{_BARS} {_REFERENCES}", "curves"),
    # Pages show the table of gains instead.
    "heat-map": Kind(board.draw_heat_map, "Gains at a glance", _HEAT_MAP, "folder"),
    "distances": Kind(_draw_distances, "Distances from the best possible", f"{_DISTANCES} {_BARS}", "curves"),
    "cost": Kind(board.draw_cost, "Gains against cost", _COST, "cost"),
    "transfer": Kind(board.draw_transfer, _TRANSFER, _BARS, "curves"),
    "bases": Kind(board.draw_bases, "Agreement with bases", _BASES, "basis"),
    "optimality": Kind(
        rates.draw_optimality, "Distances from the bound against the noise per side", f"{_OPTIMALITY} {_BARS}", "curves"
    ),
    "generalization": Kind(
        board.draw_generalization, _SWEEP, f"The grey line is the noisy image. {_BARS}", "generalization", "sweep"
    ),
    "transitions": Kind(board.draw_transitions, _TRANSITIONS, f"{_CHANCE} {_BARS}", "generalization", "sweep"),
    "training": Kind(board.draw_training, "Training", "A curve for each training run.", "training", "dataset"),
    "rates": Kind(rates.draw_rates, "Local slopes of output against input PSNR", f"{_RATES} {_BARS}"),
}


def figure(
    results: Results, name: str, *, dataset: str | Labels | None = None, entrants: str | Labels = (), **options: Any
) -> Figure:
    """Draw a figure of results, as :meth:`gahbench.board.results.Results.figure` describes."""
    draw = FIGURES[name].draw if name in FIGURES else functools.partial(board.draw_metric, metric=name)
    if name not in FIGURES and name not in (known := board.known_metrics(results)):
        near = suggestion(name, [*FIGURES, *known]) or ";"
        raise ParameterError(f"no figure '{name}'{near} accepted: {listing(FIGURES)}, or a metric: {listing(known)}")
    accepted = [key for key, field in inspect.signature(draw).parameters.items() if field.kind == field.KEYWORD_ONLY]
    if unknown := [key for key in options if key not in accepted]:
        raise ParameterError(f"figure '{name}' has no {listing(unknown)}; accepted: {listing(accepted)}")
    patterns = ([chosen] if isinstance(chosen, str) else chosen for chosen in (dataset, entrants))
    known_labels = [each.dataset for each in results.board.datasets], results.entrants
    labels = map(choose_labels, patterns, known_labels, ("dataset", "entrant"))
    return draw(results, *labels, **options)


def published(results: Results, folder: Path | None = None, is_saved: bool = False) -> Iterator[Published]:
    """Yield the figures that published results have; those of training only with the folder of a run.

    If the files of the folder show these results, figures that it has are not drawn again.
    """
    datasets = [each.dataset for each in results.board.datasets]
    parts: dict[str, list[tuple[str, ...]]] = {"": [()], "dataset": [(name,) for name in datasets], "sweep": []}
    with suppress(ResultsError):
        parts["sweep"] = [*find_sweeps(results)]
    stems = file_stems(datasets) | file_stems([entrant for _, entrant in parts["sweep"]])
    for name, kind in FIGURES.items():
        for part in parts[kind.each] if kind.section else ():
            options: dict[str, Any] = dict(zip(("dataset", "entrants"), part, strict=False))
            shown = [getattr(results.names, key.removesuffix("s"))(label) for key, label in options.items()]
            stem, svg = "-".join([name, *map(stems.__getitem__, part)]), b""
            with suppress(GahbenchError, OSError):
                if folder and is_saved:
                    svg = read_regular(folder / "figures" / f"{stem}.svg", MAX_BYTES, follow=False)
            with suppress(GahbenchError):
                options |= {"folder": folder} if name == "training" else {}
                svg = svg or encode(figure(results, name, **options), ".svg")
            if svg:
                yield Published(stem, ", ".join([kind.title, *reversed(shown)]), kind, svg)


def render_figures(results: Results) -> Iterator[tuple[str, bytes]]:
    """Yield the file name and the content of each published figure, as SVG; equal results give equal bytes."""
    yield from ((f"{item.name}.svg", item.svg) for item in published(results))
