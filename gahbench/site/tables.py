"""The tables of a site: columns of cells, some of which lead to other pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from gahbench._util.shapes import Shape
from gahbench.board.board import DatasetBoard
from gahbench.board.facts import optimum_of
from gahbench.contracts.row_labels import base_label
from gahbench.report import cells
from gahbench.report.cells import Cell, Column, bracket_column, plain_column, rank_bar, value_column
from gahbench.site.catalogue import Catalogue, Place, Run


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


def boards(catalogue: Catalogue) -> list[Column]:
    """Return the table of all boards, with the best entrant of each that has a rank."""
    pages = catalogue.pages
    rows = [(run, board) for found in catalogue.datasets.values() for run, board in found]
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


def entrants(catalogue: Catalogue) -> tuple[list[Column], list[str]]:
    """Return the table of all entrants, and the kind of each."""
    found, pages = catalogue.entrants, catalogue.pages["entrants"]
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
    """Return on how many boards an entrant is; the rows of a sweep are on one."""
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
    text, most = cells.rank_text(place.entry), place.ranked
    if place.entry.rank is None:
        return Cell(text)
    return Cell(f"{text} of {most}", bar=rank_bar(place.entry, most))
