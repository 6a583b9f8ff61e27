"""What a site shows: runs, and what they have of each entrant and dataset."""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gahbench._util.errors import ResultsError
from gahbench._util.files import names_in
from gahbench.board.board import DatasetBoard, Entry
from gahbench.board.results import INDEX, Results, load_results
from gahbench.contracts.row_labels import base_label, split_label
from gahbench.registry.registry import Registry
from gahbench.report.cells import file_stems
from gahbench.report.page import provenance
from gahbench.report.page.charts import Source
from gahbench.store.plan_file import RecordedPlan

#: Of a folder, its page of reading.
PAGE = "README.md"


@dataclass(frozen=True, eq=False)
class Run:
    """A results folder."""

    name: str
    path: str
    source: Source

    @property
    def text(self) -> str:
        """The path of its page of reading, from the site's folder."""
        return posixpath.normpath(f"{self.path}/{PAGE}")

    @property
    def results(self) -> Results:
        """The results."""
        return self.source.results

    @cached_property
    def plan(self) -> RecordedPlan | None:
        """The plan; ``None`` where it cannot be read."""
        return provenance.recorded_plan_of(self.source.folder)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Day, machine and versions, as far as they are recorded."""
        return provenance.environment_of(self.source.folder)

    @property
    def entrants(self) -> list[str]:
        """Labels of entrants; the rows of a sweep are of one."""
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

    @property
    def ranked(self) -> int:
        """How many entrants of the board have a rank."""
        return sum(entry.rank is not None for entry in self.board.entries)


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
        """The rows of each entrant on all boards; of one that no board has, none."""
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
        """Return addresses of pages from a page, given the way from it to the site."""
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
