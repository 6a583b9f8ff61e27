"""The contents of a site: runs, the places of entrants on their boards, and tables of both."""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from gahbench._util.errors import ResultsError
from gahbench._util.files import names_in
from gahbench._util.shapes import Shape
from gahbench.board.board import DatasetBoard, Entry
from gahbench.board.facts import optimum_of
from gahbench.board.results import INDEX, Results, load_results
from gahbench.contracts.row_labels import base_label, split_label
from gahbench.registry.registry import Registry
from gahbench.report import cells
from gahbench.report.cells import (
    Cell,
    Column,
    bracket_column,
    file_stems,
    plain_column,
    rank_bar,
    rank_text,
    value_column,
)
from gahbench.report.page import provenance
from gahbench.report.page.charts import Source
from gahbench.store.plan_file import RecordedPlan

#: The page of reading of a folder.
PAGE = "README.md"


@dataclass(frozen=True, eq=False)
class Run:
    """A results folder."""

    name: str
    path: str
    source: Source

    @property
    def text(self) -> str:
        """The path of its README.md, from the site's folder."""
        return posixpath.normpath(f"{self.path}/{PAGE}")

    @property
    def results(self) -> Results:
        """The results."""
        return self.source.results

    @cached_property
    def plan(self) -> RecordedPlan | None:
        """The plan; ``None`` if it cannot be read."""
        return provenance.recorded_plan_of(self.source.folder)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Day, machine and versions, as far as they are recorded."""
        return provenance.environment_of(self.source.folder)

    @property
    def entrants(self) -> list[str]:
        """Labels of entrants; the rows of a sweep are one entrant."""
        return list(dict.fromkeys(map(base_label, self.results.entrants)))

    @cached_property
    def described(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """The plugins of the plan with their parameters, by ``entrant`` or ``dataset`` and label."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for unit in self.plan.shown if self.plan else ():
            for kind, label in (("entrant", base_label(unit.entrant)), ("dataset", unit.dataset)):
                if isinstance(payload := unit.payload.get(kind), Mapping):
                    found.setdefault((kind, label), payload)
        return found


@dataclass(frozen=True, eq=False)
class Place:
    """An entrant's row on the board of a dataset."""

    run: Run
    board: DatasetBoard
    entry: Entry

    @property
    def number(self) -> str:
        """The number of images that it learned from, as its label has it; empty outside sweeps."""
        return split_label(self.entry.entrant)[1] or ""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All runs of a folder."""

    runs: Sequence[Run]

    @cached_property
    def datasets(self) -> dict[str, list[tuple[Run, DatasetBoard]]]:
        """The boards of each dataset."""
        found: dict[str, list[tuple[Run, DatasetBoard]]] = {}
        for run in self.runs:
            for board in run.results.board.datasets:
                found.setdefault(board.dataset, []).append((run, board))
        return dict(sorted(found.items()))

    @cached_property
    def entrants(self) -> dict[str, list[Place]]:
        """The rows of each entrant on all boards; empty for entrants that are on no board."""
        found: dict[str, list[Place]] = {label: [] for run in self.runs for label in run.entrants}
        for boards in self.datasets.values():
            for run, board in boards:
                for entry in board.entries:
                    found[base_label(entry.entrant)].append(Place(run, board, entry))
        return dict(sorted(found.items()))

    @cached_property
    def pages(self) -> dict[str, dict[str, str]]:
        """Addresses of pages in the site, of runs by their names, of entrants and datasets by their labels."""
        names = {"runs": [run.name for run in self.runs], "entrants": self.entrants, "datasets": self.datasets}
        return {
            folder: {label: f"{folder}/{stem}.html" for label, stem in file_stems(list(labels)).items()}
            for folder, labels in names.items()
        }

    def pages_from(self, root: str) -> dict[str, dict[str, str]]:
        """Return addresses of pages relative to a page, given the relative path from it to the site."""
        return {folder: {label: root + page for label, page in found.items()} for folder, found in self.pages.items()}


def catalogue(folder: Path, registry: Registry) -> Catalogue:
    """Return the runs of a folder: its own results, if it has any, and those of the folders in it."""
    runs = [Run(name, path, Source(folder / path, results, registry)) for name, path, results in _found(folder)]
    if not runs:
        raise ResultsError(f"{folder}: holds no results; expected a folder of results folders, each with {INDEX}")
    return Catalogue(sorted(runs, key=lambda run: run.name))


def _found(folder: Path) -> Iterator[tuple[str, str, Results]]:
    inside = sorted(names_in(folder))
    own = folder.resolve().name
    for name, path in [(f"{own}/" if own in inside else own, "."), *((name, name) for name in inside)]:
        index = folder / path / INDEX
        if not index.is_file():
            continue
        if not index.resolve().is_relative_to(folder.resolve()):
            warnings.warn(
                f"left out: {index.parent}: is a link that leads out of {folder}; copy it there", stacklevel=4
            )
            continue
        try:
            yield name, path, load_results(folder / path)
        except ResultsError as error:
            warnings.warn(f"left out: {error}", stacklevel=4)


def standings(places: Sequence[Place], pages: Mapping[str, Mapping[str, str]]) -> list[Column]:
    """Return the table of an entrant's places: a row for each board that it is on, or several of a sweep."""
    found = [(place.board, place.entry.entrant) for place in places]
    gains = [board.estimate(label, "gain_over_baseline") for board, label in found]
    columns = [
        _links("dataset", [(place.board.dataset, pages["datasets"][place.board.dataset]) for place in places]),
        _links("run", [(place.run.name, pages["runs"][place.run.name]) for place in places]),
        plain_column("images", [place.number or cells.DASH for place in places]),
        Column("rank", [_rank(place) for place in places]),
        value_column("PSNR", [board.estimate(label, "psnr") for board, label in found]),
        value_column("gain", gains, sign=True, has_bars=True),
        _deficits(found, has_bars=True),
        _parameters([place.entry.parameters for place in places]),
    ]
    return [one for one in columns if one.is_known]


def boards_table(contents: Catalogue) -> list[Column]:
    """Return the table of all boards, with the best entrant of each that has a rank."""
    pages = contents.pages
    rows = [(run, board) for found in contents.datasets.values() for run, board in found]
    best = [next((entry.entrant for entry in board.entries if entry.rank == 1), "") for _, board in rows]
    found = [(board, label) for (_, board), label in zip(rows, best, strict=True)]
    columns = [
        _links("dataset", [(board.dataset, pages["datasets"][board.dataset]) for _, board in rows]),
        _links("run", [(run.name, pages["runs"][run.name]) for run, _ in rows]),
        plain_column("images", [shape_text(shape_of(run, board.dataset)) for run, board in rows]),
        plain_column("optimum", [optimum_of(run.results, board.dataset)[0] for run, board in rows], is_text=True),
        plain_column("entrants", [str(len(board.entries)) for _, board in rows]),
        _links("best", [(label or cells.DASH, pages["entrants"].get(base_label(label), "")) for label in best]),
        value_column("PSNR", [board.estimate(label, "psnr") for board, label in found]),
        _deficits(found),
    ]
    return [one for one in columns if one.is_known]


def entrants_table(contents: Catalogue) -> tuple[list[Column], list[str]]:
    """Return the table of all entrants, and the kind of each."""
    found, pages = contents.entrants, contents.pages["entrants"]
    kinds = [kind_of(places) for places in found.values()]
    ranked = [[place.entry.rank for place in places if place.entry.rank is not None] for places in found.values()]
    columns = [
        _links("entrant", [(label, pages[label]) for label in found]),
        plain_column("kind", kinds, is_text=True),
        _parameters([largest(places) for places in found.values()]),
        plain_column("boards", [str(boards_of(places)) for places in found.values()]),
        plain_column("first on", [str(sum(rank == 1 for rank in ranks)) if ranks else cells.DASH for ranks in ranked]),
    ]
    return columns, kinds


def kind_of(places: Sequence[Place]) -> str:
    """Return the kind of an entrant; a dash where no board has it."""
    return next((place.entry.kind for place in places if place.entry.kind), cells.DASH)


def largest(places: Sequence[Place]) -> int | None:
    """Return the number of parameters of an entrant, which depends on the channels of images: the largest."""
    return max((place.entry.parameters for place in places if place.entry.parameters is not None), default=None)


def boards_of(places: Sequence[Place]) -> int:
    """Return the number of boards that an entrant is on; the rows of a sweep are on one board."""
    return len({(place.run.name, place.board.dataset) for place in places})


def shape_of(run: Run, dataset: str) -> Shape | None:
    """Return the shape (C, H, W) of the images of a dataset; ``None`` where it is not recorded."""
    rows = run.results.datasets[run.results.datasets["dataset"] == dataset]
    sizes = [] if rows.empty else [rows[name].iloc[0] for name in ("channels", "height", "width")]
    if not sizes or any(pd.isna(size) for size in sizes):
        return None
    channels, height, width = map(int, sizes)
    return channels, height, width


def shape_text(shape: Shape | None) -> str:
    """Return the shape of images as text."""
    return cells.DASH if shape is None else "×".join(map(str, shape))


def _links(head: str, found: Sequence[tuple[str, str]]) -> Column:
    return Column(head, [Cell(text, address=address) for text, address in found], is_text=True)


def _deficits(found: Sequence[tuple[DatasetBoard, str]], has_bars: bool = False) -> Column:
    low, high = ([board.estimate(label, "deficit", part) for board, label in found] for part in ("min", ""))
    return bracket_column("deficit", low, high, has_bars=has_bars)


def _parameters(counts: Sequence[int | None]) -> Column:
    found = [Cell(cells.count(number), "" if number is None else str(number)) for number in counts]
    return Column("parameters", found)


def _rank(place: Place) -> Cell:
    if place.entry.rank is None:
        return Cell(rank_text(place.entry))
    ranked = sum(entry.rank is not None for entry in place.board.entries)
    return Cell(f"{rank_text(place.entry)} of {ranked}", bar=rank_bar(place.entry, ranked))
