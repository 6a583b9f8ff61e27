"""Figures of ``gahbench draw`` by name: those of boards, and those of stored images and of datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gahbench._util.errors import ParameterError, listing
from gahbench.explore.drawing import draw_approximation, draw_geometry
from gahbench.registry.parameters import constructor_parameters, resolve
from gahbench.registry.registry import Registry
from gahbench.registry.spec import parse_spec
from gahbench.report import figures, pictures
from gahbench.runs.collect import load_rows


def draw_figure(
    name: str, targets: Sequence[str], datasets: Sequence[str], entrants: Sequence[str], registry: Registry
) -> Iterator[Figure]:
    """Yield the figures of a name with parameters, or of a metric, of a results folder or of datasets."""
    kind = name.partition("[")[0]
    if kind in OF_DATASETS:
        yield from _draw(OF_DATASETS[kind], name, registry, targets)
        return
    if len(targets) > 1:
        raise ParameterError(f"{listing(targets)}; this figure accepts a single results folder")
    folder = Path(targets[0])
    results = load_rows([folder], registry)[0]
    if kind in OF_FOLDERS:
        yield from _draw(OF_FOLDERS[kind], name, results, folder, (datasets, entrants))
        return
    # Names of metrics may contain brackets.
    options = _options(name) if kind in figures.FIGURES else {}
    options |= {"folder": folder} if kind == "training" else {}
    shown = kind if kind in figures.FIGURES else name
    yield figures.figure(results, shown, dataset=datasets, entrants=entrants, **options)


def _options(name: str) -> dict[str, Any]:
    """Return the parameters of a figure; values without names are bases."""
    spec = parse_spec(name)
    return ({"bases": list(spec.positional)} if spec.positional else {}) | spec.keywords


def _draw(draw: Callable[..., Iterator[Figure]], name: str, *source: Any) -> Iterator[Figure]:
    where = f"figure '{name.partition('[')[0]}'"
    parameters = constructor_parameters(draw, where)[len(source) :]
    return draw(*source, **resolve(parameters, _options(name), where))


def _draw_samples(metric: str, sheet: Callable[..., Figure]) -> Callable[..., Iterator[Figure]]:
    """Return the function that draws a sheet of the samples that a metric kept of each dataset and entrant."""

    def draw(results: Any, folder: Any, chosen: Any) -> Iterator[Figure]:
        for (dataset, entrant), sets in pictures.stored_samples(folder, metric, *chosen).items():
            yield sheet(sets, f"{results.names.entrant(entrant)}, {results.names.dataset(dataset)}")

    return draw


def _draw_denoised(results: Any, folder: Any, chosen: Any, *, sigma: float | None = None) -> Iterator[Figure]:
    return pictures.denoised_figures(results, folder, sigma, *chosen)


OF_DATASETS: dict[str, Callable[..., Iterator[Figure]]] = {
    "approximation": draw_approximation,
    "geometry": draw_geometry,
}
#: The figures that need images of a folder, beside those of boards (:data:`gahbench.report.figures.FIGURES`).
OF_FOLDERS: dict[str, Callable[..., Iterator[Figure]]] = {
    "samples": _draw_samples("pair-cosine", pictures.comparison_sheet),
    "cosines": _draw_samples("pair-cosine", pictures.cosines_figure),
    "predictions": _draw_samples("sample-prediction", pictures.comparison_sheet),
    "denoised": _draw_denoised,
}
