"""The table of kinds of figures, which files, pages, notebooks and ``gahbench draw`` share.

A new figure is a function of results, labels of datasets and labels of entrants, and a line of :data:`FIGURES`.
"""

from __future__ import annotations

import base64
import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from gahbench._util.errors import GahbenchError, ParameterError, listing, suggestion
from gahbench._util.files import read_regular
from gahbench.board.alignments import parse_agreement
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.board.selection import choose_labels
from gahbench.report import bases, board_figures, rates, training
from gahbench.report.board_figures import COSTS, draw_metric, known_metrics
from gahbench.report.cells import file_stems
from gahbench.report.drawing import encode

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: The largest figure of a folder that is read, in bytes.
MAX_BYTES = 4_000_000


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Parameters
    ----------
    draw
        Function of results, labels of datasets, labels of entrants, and ``width`` in millimetres, that returns the
        figure. Its other keyword arguments are options; ``folder`` is the folder of the results.
    title, caption
        What the figure shows, and how to read it.
    section
        The section of pages that shows the figure; empty if it is drawn on request only.
    parts
        Function of results that yields the dataset and the entrant of each published figure; ``None`` for all of them.
    """

    draw: Callable[..., Figure]
    title: str
    caption: str
    section: str = ""
    parts: Callable[[Results], Iterable[tuple[str | None, str | None]]] = lambda results: ()


@dataclass(frozen=True, eq=False)
class Published:
    """A figure of published results: its file name without suffix, its title, its kind, and how it is drawn."""

    name: str
    title: str
    kind: Kind
    draw: Callable[[], Figure]

    def svg(self) -> bytes | None:
        """Return the figure as SVG; ``None`` if there is nothing to draw, such as costs that differ on no dataset."""
        try:
            return encode(self.draw(), ".svg")
        except GahbenchError:
            return None


def _if(condition: Callable[[Results], object]) -> Callable[[Results], list[tuple[str | None, str | None]]]:
    """Return the parts of a figure of the whole board, which is published if a condition holds."""
    return lambda results: [(None, None)] if condition(results) else []


def _metrics_of_bases(results: Results) -> bool:
    return any(parse_agreement(metric) for metric, _ in board_figures.known_metrics(results).values())


def _has_costs(results: Results) -> bool:
    """Return whether entrants that could be used in practice differ in any cost."""
    entries = [entry for entry in results.board.entries if entry.kind in PRACTICAL_KINDS]
    known = [{value for entry in entries if (value := of(entry)) and math.isfinite(value)} for of in COSTS.values()]
    return results.board.is_known("psnr") and any(len(values) > 1 for values in known)


_INTERVALS = "Bars and bands are the 95 % intervals of the board"
_REFERENCES = "Names in italics are references, which see the clean image or bound what is possible"
FIGURES: dict[str, Kind] = {
    "gains": Kind(
        board_figures.draw_gains,
        "Gains",
        f"{_INTERVALS}. {_REFERENCES}.",
        "curves",
        _if(lambda results: results.board.is_known("psnr")),
    ),
    "heat-map": Kind(
        board_figures.draw_heat_map,
        "Gains at a glance",
        "Means over noise levels: blue above 0, orange below; grey numbers are not decided by their intervals.",
        "curves",
        _if(lambda results: len(results.board.datasets) > 2 and results.board.is_known("psnr")),
    ),
    "distances": Kind(
        lambda *labels, **options: draw_metric(*labels, metric="deficit", **options),
        "Distances from the best possible",
        f"Mean squared error above that of the optimum, or of a bound on it, in decibels. {_INTERVALS}.",
        "curves",
        _if(lambda results: results.board.is_known("deficit")),
    ),
    "cost": Kind(
        board_figures.draw_cost,
        "Gains against cost",
        "Steps are the Pareto fronts: no denoiser gains more at the same cost or less. Bars are 95 % intervals.",
        "cost",
        _if(_has_costs),
    ),
    "transfer": Kind(
        board_figures.draw_transfer,
        "PSNR under recorded and under drawn noise of equal strength",
        f"{_INTERVALS}.",
        "curves",
        _if(lambda results: results.board.is_known("transfer-gap", "drawn")),
    ),
    "bases": Kind(
        bases.draw_bases,
        "Agreement with bases",
        "Cosines with filters in each basis: 1 for the same directions, 0 for none. Grey: the interval holds 0.",
        "basis",
        _if(_metrics_of_bases),
    ),
    "optimality": Kind(
        rates.draw_optimality,
        "Distances from the bound against the noise per side",
        "A denoiser with the optimal rate has a flat curve, one with the rate of wavelets follows the dotted line. The "
        f"bound has collapsed in the shaded range: there, more pixels do not change it. {_INTERVALS}.",
        "curves",
        _if(lambda results: results.deficit_curves),
    ),
    "generalization": Kind(
        training.draw_generalization,
        "PSNR on training and on test images, by the number N of training images",
        f"The grey line is the noisy image. {_INTERVALS}.",
        "generalization",
        lambda results: training.sweep_parts(results),
    ),
    "transitions": Kind(
        training.draw_transitions,
        "Metrics against the number of training images",
        f"Dashed lines are the values that chance gives. {_INTERVALS}.",
        "generalization",
        lambda results: training.sweep_parts(results),
    ),
    "training": Kind(
        training.draw_training,
        "Training",
        "A curve for each training run.",
        "training",
        lambda results: [(dataset, None) for dataset in map(str, results.datasets["dataset"])],
    ),
    "rates": Kind(
        rates.draw_rates,
        "Local slopes of output against input PSNR",
        "Dashed: the optimal slope. Dotted: 1/2, the slope of wavelets on images with edges. In the shaded window, a "
        f"slope is a rate. {_INTERVALS}.",
    ),
    "resolution": Kind(
        rates.draw_resolution,
        "Slopes against the size of images",
        f"Dashed: the optimal slope. Dotted: 1/2, the slope of wavelets on images with edges. {_INTERVALS}.",
    ),
}


def figure(
    results: Results,
    name: str = "gains",
    *,
    dataset: str | Sequence[str] | None = None,
    entrants: str | Sequence[str] = (),
    **options: Any,
) -> Figure:
    """Draw a figure of results: a kind of :data:`FIGURES`, or any metric or ``metric.part``.

    Parameters
    ----------
    results
        The results of a suite.
    name
        Name of a kind of figures, or of a metric.
    dataset, entrants
        Labels, names or patterns of the datasets and the entrants that are drawn; by default all.
    options
        ``width`` in millimetres, and the options of the kind.

    Raises
    ------
    GahbenchError
        If there is no such figure or option, or no values to draw.
    """
    kind = FIGURES.get(name)
    if kind is None and name not in (known := known_metrics(results)):
        near = suggestion(name, [*FIGURES, *known]) or ";"
        raise ParameterError(f"no figure '{name}'{near} accepted: {listing(FIGURES)}, or a metric: {listing(known)}")
    draw: Callable[..., Figure] = draw_metric if kind is None else kind.draw
    accepted = [key for key, field in inspect.signature(draw).parameters.items() if field.kind == field.KEYWORD_ONLY]
    if kind is None:
        options["metric"] = name
    if unknown := [
        key for key in options if key not in accepted and "options" not in inspect.signature(draw).parameters
    ]:
        raise ParameterError(f"figure '{name}' has no {listing(unknown)}; accepted: {listing(accepted)}")
    datasets = choose_labels(_patterns(dataset), [board.dataset for board in results.board.datasets], "dataset")
    return draw(results, datasets, choose_labels(_patterns(entrants), results.entrants, "entrant"), **options)


def _patterns(patterns: str | Sequence[str] | None) -> Sequence[str]:
    return [patterns] if isinstance(patterns, str) else patterns or ()


def published(results: Results, folder: Path | None = None) -> Iterator[Published]:
    """Yield the figures of published results; those of training only with the folder of a run."""
    stems = file_stems([board.dataset for board in results.board.datasets])
    trained: set[str] = set()
    if folder is not None:
        with suppress(GahbenchError):
            trained = set(training.histories(folder))
    for name, kind in FIGURES.items():
        parts = [part for part in kind.parts(results) if name != "training" or part[0] in trained]
        labels = file_stems([entrant for _, entrant in parts if entrant])
        options: dict[str, Any] = {"folder": folder} if name == "training" else {}
        for dataset, entrant in parts:
            names = [name, *([stems[dataset]] if dataset else []), *([labels[entrant]] if entrant else [])]
            shown = [results.names.entrant(entrant)] if entrant else []
            title = ", ".join([kind.title, *shown, *([results.names.dataset(dataset)] if dataset else [])])
            draw = functools.partial(figure, results, name, dataset=dataset, entrants=entrant or (), **options)
            yield Published("-".join(names), title, kind, draw)


def render_figures(results: Results) -> Iterator[tuple[str, bytes]]:
    """Yield the file name and the content of each published figure, as SVG; equal results give equal bytes."""
    for item in published(results):
        if content := item.svg():
            yield f"{item.name}.svg", content


def page_figures(results: Results, folder: Path, is_saved: bool = True) -> dict[str, list[tuple[Published, str]]]:
    """Return figures with their SVG as a ``data:`` URL, whose scripts never run, by section of the page.

    If the files of the folder show these results, figures that it has are not drawn again.
    """
    sections: dict[str, list[tuple[Published, str]]] = {}
    for item in published(results, folder):
        content = None
        if is_saved:
            with suppress(OSError):
                content = read_regular(folder / "figures" / f"{item.name}.svg", MAX_BYTES, follow=False)
        if content := content or item.svg():
            url = f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
            sections.setdefault(item.kind.section, []).append((item, url))
    return sections
