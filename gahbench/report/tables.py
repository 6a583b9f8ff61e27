"""The board as text: Markdown for files, rich for terminals, both from the same grids of cells."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gahbench._util.readable import level_name
from gahbench.board.board import DatasetBoard, Entry
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.over_datasets import OverDatasets, over_datasets
from gahbench.board.rate_courses import METRIC
from gahbench.evaluation.rates import input_psnr
from gahbench.report import cells
from gahbench.report.legend import checks_line, dataset_lines, legend, rate_lines, short_legend

if TYPE_CHECKING:
    from rich.console import Console

    from gahbench.board.results import Results

_WIDTH = 120
_LABEL = 30  # of which so much is for the entrant; a terminal wraps longer ones
_FOLDED = 16  # to which a terminal folds it at least
_NOTE = 200  # characters of a note; the CSV has all of it
#: Headings of columns of the wide table (:mod:`gahbench.board.board`) whose names are longer.
HEADINGS = {
    "psnr": "PSNR",
    "gain_over_baseline": "gain",
    "kl": "KL (nats)",
    "parameters": "params",
    "train_seconds": "training",
}


@dataclass(frozen=True)
class Grid:
    """A table of text: its title, its column headings, its rows, and how many columns are text."""

    title: str
    head: list[str]
    rows: list[list[str]]
    texts: int


def markdown(results: Results, full_legend: bool = False) -> str:
    """Return the board as Markdown that also reads well as plain text."""
    how = short_legend(results) if not full_legend else "\n".join(f"- {line}" for line in legend(results))
    blocks = [f"# {results.suite}", how]
    if checks := checks_line(results):
        blocks.append(checks)
    if overall := overall_grid(results):
        blocks += ["## All datasets", f"**{overall.title}**", aligned(overall)]
    for board in results.board.datasets:
        blocks.append(f"## {board.dataset}")
        blocks += dataset_lines(board.dataset, results)
        if rates := list(rate_lines(board, results)):
            blocks.append("\n".join(f"- {line}" for line in rates))
        for grid in grids(board):
            blocks += [f"**{grid.title}**", aligned(grid)]
        if notes := [f"- `{entrant}`: {note}" for entrant, note in notes_below(board)]:
            blocks.append("\n".join(notes))
    return "\n\n".join(blocks) + "\n"


def print_board(results: Results, console: Console, full_legend: bool = False) -> None:
    """Print the board: in colour on a terminal, wrapping long names; as :func:`markdown` elsewhere."""
    if not console.is_terminal:
        # print would wrap at a width that a file does not have.
        console.out(markdown(results, full_legend), end="", highlight=False)
        return
    from rich.text import Text

    if overall := overall_grid(results):
        console.print(Text("\nAll datasets", style="bold"))
        console.print(Text(f"\n{overall.title}", style="italic"))
        console.print(_rich(overall, {row[1] for row in overall.rows if row[0] == cells.DASH}, console.width))
    for board in results.board.datasets:
        console.print(Text(f"\n{board.dataset}", style="bold"))
        for line in (*dataset_lines(board.dataset, results), *rate_lines(board, results)):
            console.print(Text(line, style="dim"))
        for grid in (part for whole in grids(board) for part in _narrowed(whole, console.width)):
            console.print(Text(f"\n{grid.title}", style="italic"))
            unranked = {entry.entrant for entry in board.entries if entry.rank is None}
            console.print(_rich(grid, unranked, console.width))
        noted = notes_below(board)
        if noted:
            console.print()
        for entrant, note in noted:
            console.print(Text.assemble((entrant, "bold"), f": {note}"))
    lines = [f"- {line}" for line in legend(results)] if full_legend else [short_legend(results)]
    console.print(Text("\n".join(["", *lines, checks_line(results)]).rstrip(), style="dim"))


def grids(board: DatasetBoard) -> Iterator[Grid]:
    """Yield the tables of one dataset: the summary, PSNR by noise level, and the other metrics."""
    yield _summary(board)
    sigmas = board.sigmas
    if len(sigmas) > 1:
        body = [
            [entry.entrant, *(_with_half_width(board, entry, "psnr", sigma=sigma) for sigma in sigmas)]
            for entry in board.entries
            if any(board.estimate(entry.entrant, "psnr", sigma=sigma).is_known for sigma in sigmas)
        ]
        # Under the values, not under their intervals.
        indent = " " * 6 if any("±" in cell for line in body for cell in line) else ""
        body.append(["(noisy)"] + [cells.number(float(input_psnr(sigma))) + indent for sigma in sigmas])
        yield from _split("PSNR by noise level", ["entrant"] + [f"σ {level_name(s)}" for s in sigmas], body)
    yield from _deficits(board)
    yield from _other_metrics(board)


def overall_grid(results: Results) -> Grid | None:
    """Return the table of means over datasets; ``None`` where there are too few of them."""
    found = over_datasets(results)
    rows = found.rows
    if not rows:
        return None
    columns: list[tuple[str, list[str]]] = [
        ("rank", [cells.rank(row.rank, row.rank_high) for row in rows]),
        ("entrant", [row.entrant for row in rows]),
        ("kind", [row.kind for row in rows]),
        ("PSNR", [cells.with_half_width(row.psnr) for row in rows]),
        ("gain", [cells.with_half_width(row.gain, sign=True) for row in rows]),
    ]
    kept = [(name, body) for name, body in columns if set(body) != {cells.DASH}]
    return Grid(
        overall_title(found),
        [name for name, _ in kept],
        [list(row) for row in zip(*(b for _, b in kept), strict=True)],
        3,
    )


def overall_title(found: OverDatasets) -> str:
    """Return what the means over datasets are of, and what their intervals cover."""
    cover = {
        "datasets": "± is over datasets",
        "images": "± is over images and seeds, for these datasets",
        "": "no intervals and no ranks, since one of the datasets has none",
    }
    return f"Means over {found.datasets} datasets, of what was scored on all; {cover[found.cover]}"


def notes_below(board: DatasetBoard) -> list[tuple[str, str]]:
    """Return the entrants that have a note, with it, shortened."""
    return [
        (entry.entrant, textwrap.shorten(entry.note, _NOTE, placeholder=" …")) for entry in board.entries if entry.note
    ]


def _summary(board: DatasetBoard) -> Grid:
    """Rank, mean PSNR, gain, slope and cost; columns without values are left out."""
    entries = board.entries
    columns: list[tuple[str, list[str]]] = [
        ("rank", [cells.rank(entry.rank, entry.rank_high, bool(entry.marks)) for entry in entries]),
        ("entrant", [entry.entrant for entry in entries]),
        ("kind", [entry.kind or cells.DASH for entry in entries]),
        ("PSNR", [_with_half_width(board, entry, "psnr") for entry in entries]),
        ("gain", [_with_half_width(board, entry, "gain_over_baseline", sign=True) for entry in entries]),
        ("slope", [cells.number(board.estimate(entry.entrant, "slope").value) for entry in entries]),
        ("params", [cells.count(entry.parameters) for entry in entries]),
        ("training", [cells.duration(entry.train_seconds) for entry in entries]),
        ("seeds", [cells.DASH if entry.seeds is None else str(entry.seeds) for entry in entries]),
    ]
    always = ("rank", "entrant", "kind", "PSNR")
    kept = [(name, body) for name, body in columns if name in always or set(body) != {cells.DASH}]
    body = [list(row) for row in zip(*(b for _, b in kept), strict=True)]
    return Grid(summary_title(board), [name for name, _ in kept], body, 3)


def summary_title(board: DatasetBoard) -> str:
    """Return over which noise levels the means of a dataset are."""
    sigmas = board.sigmas
    title = f"Mean over σ = {', '.join(map(level_name, sigmas))}" if sigmas else "Nothing scored"
    if len(sigmas) == 1:
        title = f"At σ = {level_name(sigmas[0])}; the noisy images have {float(input_psnr(sigmas[0])):.2f} dB"
    return title


def _deficits(board: DatasetBoard) -> Iterator[Grid]:
    """Yield the distances from the optimum of all that were compared with it, in the order of the board."""
    compared = [entry.entrant for entry in board.entries if board.estimate(entry.entrant, "deficit").is_known]
    if not compared:
        return

    def bracket(entrant: str, quantity: str, sigma: float | None = None, digits: int = 2) -> str:
        low, high = (board.estimate(entrant, quantity, part, sigma) for part in ("min", ""))
        return cells.between(low, high, digits)

    columns = {"entrant": compared}
    if len(board.sigmas) > 1:
        columns["KL (nats)"] = [bracket(entrant, "kl", digits=3) for entrant in compared]
        columns["mean"] = [bracket(entrant, "deficit") for entrant in compared]
    for sigma in board.sigmas:
        columns[f"σ {level_name(sigma)}"] = [bracket(entrant, "deficit", sigma) for entrant in compared]
    body = [list(row) for row in zip(*columns.values(), strict=True)]
    yield from _split("Deficit from the optimum in dB, and the KL bound", list(columns), body)


def _with_half_width(
    board: DatasetBoard,
    entry: Entry,
    metric: str,
    part: str = "",
    sigma: float | None = None,
    sign: bool = False,
    digits: int = 2,
) -> str:
    return cells.with_half_width(board.estimate(entry.entrant, metric, part, sigma), sign, digits)


def _other_metrics(board: DatasetBoard) -> Iterator[Grid]:
    """Yield the means over noise levels of every metric but the PSNR."""
    for title, columns in metric_columns(board):
        yield from _means(board, title, columns)


def metric_columns(board: DatasetBoard) -> Iterator[tuple[str, dict[str, tuple[str, str]]]]:
    """Yield the title of each table of metrics but the PSNR, and the metric and part of its columns, by heading."""
    families: dict[str, dict[str, dict[str, str]]] = {}
    for metric, part in board.overall_metrics:
        named = parse_metric_name(metric)
        families.setdefault(named.name, {}).setdefault(part, {})[named.parameters] = metric
    plain = {family for family, parts in families.items() if set(parts) == {""} and len(parts[""]) == 1}
    names = sorted(metric for family in plain for metric in families[family][""].values())
    yield "Other metrics, means over noise levels, images and seeds", {name: (name, "") for name in names}
    for family, parts in families.items():
        variants = {variant for part in parts.values() for variant in part}
        if family in plain:
            continue
        if len(variants) == 1:
            (variant,) = variants
            one = {part or family: (of[variant], part) for part, of in parts.items()}
            over = "over collapsed noise levels" if family == METRIC else "means over noise levels"
            yield f"{family}{f'[{variant}]' if variant else ''}, {over}", one
            continue
        for part, of in parts.items():
            columns = {variant or family: (metric, part) for variant, metric in of.items()}
            yield f"{family}{f', {part}' if part else ''}: means over noise levels", columns


def _means(board: DatasetBoard, title: str, columns: dict[str, tuple[str, str]]) -> Iterator[Grid]:
    """Yield a table of means over noise levels: metrics and parts, by their headings."""
    body = [
        [entry.entrant, *(_with_half_width(board, entry, *of, digits=3) for of in columns.values())]
        for entry in board.entries
        if any(board.estimate(entry.entrant, *of).is_known for of in columns.values())
    ]
    # Under the values, where others have intervals.
    for place in range(1, len(columns) + 1):
        if any("±" in line[place] for line in body):
            for line in body:
                line[place] += "" if "±" in line[place] else " " * 7
    if columns:
        yield from _split(title, ["entrant", *columns], body)


def _split(title: str, head: list[str], body: list[list[str]]) -> Iterator[Grid]:
    """Yield a wide table as several that fit the page, each with the entrants in front."""
    widths = [max(map(len, column)) + 3 for column in zip(head, *body, strict=True)]
    widths[0] = min(widths[0], _LABEL)
    start = 1
    while start < len(head):
        end, width = start + 1, widths[0] + widths[start] + 1
        while end < len(head) and width + widths[end] <= _WIDTH:
            width += widths[end]
            end += 1
        yield Grid(
            title if start == 1 else f"{title}, continued",
            [head[0], *head[start:end]],
            [[row[0], *row[start:end]] for row in body],
            1,
        )
        start = end


def aligned(grid: Grid) -> str:
    """Return a Markdown table whose columns line up in plain text."""
    table = [[cell.replace("|", "\\|") for cell in row] for row in [grid.head, *grid.rows]]
    widths = [max(3, *map(len, column)) for column in zip(*table, strict=True)]
    left = [index < grid.texts for index in range(len(widths))]

    def line(row: list[str]) -> str:
        padded = [
            cell.ljust(width) if flush else cell.rjust(width)
            for cell, width, flush in zip(row, widths, left, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - (not flush)) + ":" * (not flush) for width, flush in zip(widths, left, strict=True)]
    return "\n".join([line(table[0]), line(rule), *map(line, table[1:])])


def _narrowed(grid: Grid, width: int) -> Iterator[Grid]:
    """Yield a table as several, each with the entrants, whose numbers fit a terminal of a given width."""
    at = grid.head.index("entrant")
    widths = [max(map(len, column)) for column in zip(grid.head, *grid.rows, strict=True)]
    widths[at] = min(widths[at], _FOLDED)
    kept, used = list(range(at + 1)), sum(widths[: at + 1])
    first = True
    for column in range(at + 1, len(grid.head)):
        if kept[-1] != at and used + widths[column] + 2 * (len(kept) + 1) > width:
            yield _columns_of(grid, kept, first)
            kept, used, first = [at], widths[at], False
        kept.append(column)
        used += widths[column]
    yield _columns_of(grid, kept, first)


def _columns_of(grid: Grid, kept: list[int], is_first: bool) -> Grid:
    """Return some columns of a table, the first of which are text as in the whole one."""
    title = grid.title if is_first else f"{grid.title}, continued"
    rows = [[row[column] for column in kept] for row in grid.rows]
    return Grid(title, [grid.head[column] for column in kept], rows, sum(column < grid.texts for column in kept))


def _rich(grid: Grid, unranked: set[str], width: int) -> Any:
    """Return a table for a terminal of a given width: long entrants wrap, numbers do not."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False, show_edge=False)
    for index, name in enumerate(grid.head):
        table.add_column(Text(name), justify="left" if index < grid.texts else "right", no_wrap=True)
    at = grid.head.index("entrant")
    widths = [max(map(len, column)) for column in zip(grid.head, *grid.rows, strict=True)]
    room = max(_FOLDED, width - sum(widths) + widths[at] - 2 * len(widths))
    for row in grid.rows:
        style = "dim" if row[at] in unranked or row[at] == "(noisy)" else ""
        table.add_row(*(Text(cells.folded(cell, room) if i == at else cell) for i, cell in enumerate(row)), style=style)
    return table
