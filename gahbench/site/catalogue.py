"""The contents of a site: runs, boards, standings of entrants, and the tables that list them."""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from gahbench._util.errors import ResultsError
from gahbench._util.files import names_in
from gahbench._util.readable import pluralize
from gahbench._util.shapes import Shape
from gahbench.board.board import DatasetBoard, Entry
from gahbench.board.display_names import DisplayNames, display_names
from gahbench.board.facts import base_entrants, optimum_of
from gahbench.board.results import INDEX, Results, load_results
from gahbench.contracts.row_labels import base_label
from gahbench.registry.registry import Registry
from gahbench.report import cells
from gahbench.report.cells import Cell, Column, bracket_column, file_stems, plain_column, value_column
from gahbench.report.page.charts import Source
from gahbench.report.page.entrant_tables import DISTANCE

#: The page that describes a folder.
README = "README.md"


@dataclass(frozen=True, eq=False)
class Run:
    """A results folder of a site; ``path`` is relative to the folder from which the site is built."""

    name: str
    path: str
    source: Source

    @property
    def readme(self) -> str:
        """The path of the run's README.md, relative to the folder from which the site is built."""
        return posixpath.normpath(f"{self.path}/{README}")

    @property
    def results(self) -> Results:
        """The results of the run."""
        return self.source.results

    @property
    def entrants(self) -> list[str]:
        """The labels of entrants; the rows of a sweep share one label."""
        return base_entrants(self.results)


@dataclass(frozen=True, eq=False)
class Standing:
    """The row of an entrant on the board of a dataset."""

    run: Run
    board: DatasetBoard
    entry: Entry


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The runs of a folder."""

    runs: Sequence[Run]

    @cached_property
    def datasets(self) -> dict[str, list[tuple[Run, DatasetBoard]]]:
        """The boards of each dataset, with their runs."""
        boards: dict[str, list[tuple[Run, DatasetBoard]]] = {}
        for run in self.runs:
            for board in run.results.board.datasets:
                boards.setdefault(board.dataset, []).append((run, board))
        return dict(sorted(boards.items()))

    @cached_property
    def entrants(self) -> dict[str, list[Standing]]:
        """The rows of each entrant on all boards; empty for entrants that are on no board."""
        standings: dict[str, list[Standing]] = {label: [] for run in self.runs for label in run.entrants}
        for boards in self.datasets.values():
            for run, board in boards:
                for entry in board.entries:
                    standings[base_label(entry.entrant)].append(Standing(run, board, entry))
        return dict(sorted(standings.items()))

    @cached_property
    def pages(self) -> dict[str, str]:
        """The paths of the pages of runs in the site, by name."""
        stems = file_stems([run.name for run in self.runs])
        return {name: f"runs/{stem}.html" for name, stem in stems.items()}

    @cached_property
    def names(self) -> DisplayNames:
        """The display names of the entrants and datasets of all runs, which are distinct within the site."""
        datasets: dict[str, str] = {}
        for run in self.runs:
            datasets |= dict(zip(run.results.datasets["dataset"], run.results.datasets["spec"], strict=True))
        registry = self.runs[0].source.registry
        return display_names(registry, (label for run in self.runs for label in run.results.entrants), datasets)


def load_catalogue(folder: Path, registry: Registry) -> Catalogue:
    """Load the results of a folder itself, if it has any, and of the folders in it."""
    runs = [
        Run(name, path, Source(folder / path, results, registry))
        for name, path, results in _load_runs(folder, registry)
    ]
    if not runs:
        raise ResultsError(f"{folder}: holds no results; expected a folder of results folders, each with {INDEX}")
    return Catalogue(sorted(runs, key=lambda run: run.name))


def _load_runs(folder: Path, registry: Registry) -> Iterator[tuple[str, str, Results]]:
    names = sorted(names_in(folder))
    own_name = folder.resolve().name
    for name, path in [(f"{own_name}/" if own_name in names else own_name, "."), *((name, name) for name in names)]:
        index = folder / path / INDEX
        if not index.is_file():
            continue
        if not index.resolve().is_relative_to(folder.resolve()):
            warnings.warn(
                f"left out: {index.parent}: is a symbolic link that leads out of {folder}; copy it there", stacklevel=4
            )
            continue
        try:
            yield name, path, load_results(folder / path, registry)
        except ResultsError as error:
            warnings.warn(f"left out: {error}", stacklevel=4)


def boards_by_dataset(contents: Catalogue) -> list[tuple[str, str, list[Column]]]:
    """Return for each dataset its label, its facts, and a table of its boards with their best entrants."""
    listed = []
    for dataset, boards in contents.datasets.items():
        run = boards[0][0]
        optimum, shape = optimum_of(run.results, dataset)[0], shape_text(shape_of(run, dataset))
        facts = f"images of {shape}, optimum {optimum}, {pluralize(len(boards), 'board')}"
        listed.append((dataset, facts, _boards_table(contents, boards)))
    return listed


def _boards_table(contents: Catalogue, boards: Sequence[tuple[Run, DatasetBoard]]) -> list[Column]:
    """Return the table of the boards of a dataset, each with the entrant whose rank is 1."""
    best = [next((entry.entrant for entry in board.entries if entry.rank == 1), "") for _, board in boards]
    rows = [(board, label) for (_, board), label in zip(boards, best, strict=True)]
    columns = [
        _link_column("run", [(run.name, board_address(contents.pages, run, board)) for run, board in boards]),
        plain_column("entrants", [str(len(board.entries)) for _, board in boards]),
        _link_column("best", [(label or cells.DASH, "") for label in best], contents.names.entrant),
        value_column("PSNR", [board.estimate(label, "psnr") for board, label in rows]),
        _distance_column(rows),
    ]
    return [column for column in columns if column.is_known]


def entrants_table(contents: Catalogue) -> tuple[list[Column], list[str]]:
    """Return the table of all entrants, and the kind of each."""
    entrants = contents.entrants
    kinds = [kind_of(standings) for standings in entrants.values()]
    ranked = [
        [standing.entry.rank for standing in standings if standing.entry.rank is not None]
        for standings in entrants.values()
    ]
    columns = [
        _link_column("entrant", [(label, "") for label in entrants], contents.names.entrant),
        plain_column("kind", kinds, is_text=True),
        _parameter_column([largest_parameter_count(standings) for standings in entrants.values()]),
        plain_column("boards", [str(count_boards(standings)) for standings in entrants.values()]),
        plain_column("first on", [str(sum(rank == 1 for rank in ranks)) if ranks else cells.DASH for ranks in ranked]),
    ]
    return columns, kinds


def kind_of(standings: Sequence[Standing]) -> str:
    """Return the kind of an entrant; a dash if no board states it."""
    return next((standing.entry.kind for standing in standings if standing.entry.kind), cells.DASH)


def largest_parameter_count(standings: Sequence[Standing]) -> int | None:
    """Return the largest number of parameters of an entrant, which depends on the channels of the images."""
    return max(
        (standing.entry.parameters for standing in standings if standing.entry.parameters is not None), default=None
    )


def count_boards(standings: Sequence[Standing]) -> int:
    """Return the number of boards that an entrant is on; the rows of a sweep count once."""
    return len({(standing.run.name, standing.board.dataset) for standing in standings})


def shape_of(run: Run, dataset: str) -> Shape | None:
    """Return the shape (C, H, W) of the images of a dataset; ``None`` if it is not recorded."""
    rows = run.results.datasets[run.results.datasets["dataset"] == dataset]
    sizes = [] if rows.empty else [rows[name].iloc[0] for name in ("channels", "height", "width")]
    if not sizes or any(pd.isna(size) for size in sizes):
        return None
    channels, height, width = map(int, sizes)
    return channels, height, width


def shape_text(shape: Shape | None) -> str:
    """Return a shape as text, such as ``1×32×32``; a dash for ``None``."""
    return cells.DASH if shape is None else "×".join(map(str, shape))


def _link_column(head: str, links: Sequence[tuple[str, str]], name: Callable[[str], str] = str) -> Column:
    """Return a column of links with display names; if a name differs from its label, the tooltip shows the label."""
    link_cells = [Cell(name(label), link=link, title="" if name(label) == label else label) for label, link in links]
    return Column(head, link_cells, is_text=True)


def board_address(pages: Mapping[str, str], run: Run, board: DatasetBoard) -> str:
    """Return the address of the board of a dataset on the page of its run."""
    return f"{pages[run.name]}#d{list(run.results.board.datasets).index(board)}-board"


def _distance_column(rows: Sequence[tuple[DatasetBoard, str]]) -> Column:
    low, high = ([board.estimate(label, "deficit", part) for board, label in rows] for part in ("min", ""))
    return bracket_column(DISTANCE, low, high)


def _parameter_column(counts: Sequence[int | None]) -> Column:
    column_cells = [Cell(cells.count(number), "" if number is None else str(number)) for number in counts]
    return Column("parameters", column_cells)
