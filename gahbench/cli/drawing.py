"""Figures of ``gahbench draw`` by name: those of boards, and those of stored images and of datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le
from matplotlib.figure import Figure

from gahbench._util.errors import ParameterError, listing
from gahbench.board.results import Results
from gahbench.explore.drawing import draw_approximation, draw_geometry
from gahbench.registry.parameters import constructor_parameters, resolve
from gahbench.registry.registry import Registry
from gahbench.registry.spec import parse_spec
from gahbench.report import contact_sheet, figures
from gahbench.runs.collect import load_rows


@dataclass(frozen=True)
class Source:
    """The source of a figure: a results folder, of which datasets and entrants are chosen, or datasets."""

    targets: Sequence[str]
    datasets: Sequence[str]
    entrants: Sequence[str]
    registry: Registry

    @property
    def folder(self) -> Path:
        """The results folder."""
        if len(self.targets) > 1:
            raise ParameterError(f"{listing(self.targets)}; this figure accepts a single results folder")
        return Path(self.targets[0])

    @cached_property
    def results(self) -> Results:
        """The results of all datasets and entrants of the folder."""
        return load_rows([self.folder], self.registry)[0]

    @property
    def choice(self) -> tuple[Sequence[str], Sequence[str]]:
        """The chosen datasets and entrants."""
        return self.datasets, self.entrants

    def caption(self, dataset: str, entrant: str) -> str:
        """Return the display names of an entrant and a dataset."""
        return f"{self.results.names.entrant(entrant)}, {self.results.names.dataset(dataset)}"


def draw_figure(name: str, source: Source) -> Iterator[Figure]:
    """Yield the figures of a name with parameters, or of a metric."""
    kind = name.partition("[")[0]
    if kind not in (*FIGURES, *figures.FIGURES):
        # Names of metrics may contain brackets.
        yield figures.figure(source.results, name, dataset=source.datasets, entrants=source.entrants)
        return
    spec, where = parse_spec(name), f"figure '{kind}'"
    if kind in figures.FIGURES:
        if spec.positional:
            raise ParameterError(f"{where}: values without names; accepted: name=value")
        folder = {"folder": source.folder} if kind == "training" else {}
        settings = spec.keywords | folder
        yield figures.figure(source.results, kind, dataset=source.datasets, entrants=source.entrants, **settings)
        return
    parameters = constructor_parameters(FIGURES[kind], where)[1:]
    # A parameter that is a list receives all values without a name.
    values = [list(spec.positional)] if parameters and parameters[0].is_sequence else spec.positional
    if len(values) > len(parameters):
        raise ParameterError(f"{where} has too many parameters; accepted: {listing(each.name for each in parameters)}")
    positional = {parameter.name: value for parameter, value in zip(parameters, values, strict=False) if value != []}
    yield from FIGURES[kind](source, **resolve(parameters, positional | spec.keywords, where))


def _samples(source: Any, *, count: Annotated[int, Ge(1), Le(32)] = 8) -> Iterator[Figure]:
    for pair, sets in contact_sheet.stored_samples(source.folder, "pair-cosine", *source.choice).items():
        yield contact_sheet.pairs_sheet(sets, source.caption(*pair), count)


def _cosines(source: Any) -> Iterator[Figure]:
    for pair, sets in contact_sheet.stored_samples(source.folder, "pair-cosine", *source.choice).items():
        yield contact_sheet.cosines_figure(sets, source.caption(*pair))


def _predictions(source: Any, *, count: Annotated[int, Ge(1), Le(32)] = 8) -> Iterator[Figure]:
    for pair, sets in contact_sheet.stored_samples(source.folder, "sample-prediction", *source.choice).items():
        yield contact_sheet.predictions_sheet(sets, source.caption(*pair), count)


def _denoised(source: Any, *, sigma: float | None = None, count: Annotated[int, Ge(1), Le(3)] = 3) -> Iterator[Figure]:
    kept = contact_sheet.kept_images(source.folder, *source.choice)
    level = contact_sheet.middle_level(kept) if sigma is None else sigma
    for images in kept.values():
        yield contact_sheet.denoised_sheet(images, level, count, source.results.names)


def _approximation(
    source: Any, *, bases: tuple[str, ...] = ("sym4",), images: Annotated[int, Ge(1)] = 16
) -> Iterator[Figure]:
    yield draw_approximation(source.registry, source.targets, bases, images)


def _geometry(
    source: Any,
    *,
    basis: str = "bandlet",
    threshold: Annotated[float, Ge(0)] = 0.1,
    index: Annotated[int, Ge(0)] = 0,
    noisy: bool = False,
) -> Iterator[Figure]:
    for dataset in source.targets:
        yield draw_geometry(source.registry, dataset, basis, threshold, index, noisy=noisy)


#: The figures that need images or datasets, by name, beside those of boards (:data:`gahbench.report.figures.FIGURES`).
FIGURES: dict[str, Any] = {
    "samples": _samples,
    "cosines": _cosines,
    "predictions": _predictions,
    "denoised": _denoised,
    "approximation": _approximation,
    "geometry": _geometry,
}
