"""The board as text: Markdown for files, rich for terminals, both of the same columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gahbench._util.readable import level_name
from gahbench.board.board import DatasetBoard
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.ranks import OverDatasets
from gahbench.board.rate_courses import METRIC
from gahbench.evaluation.rates import input_psnr
from gahbench.report import cells
from gahbench.report.columns import (
    Column,
    bracket_column,
    column,
    cost_columns,
    entry_kinds,
    entry_ranks,
    estimates_of,
    overall_columns,
    value_column,
)
from gahbench.report.legend import checks_line, dataset_lines, legend, rate_lines, short_legend

if TYPE_CHECKING:
    from gahbench.board.results import Results

_WIDTH = 120
_LABEL = 30  # of which so much is for the entrant; a terminal wraps longer ones
_FOLDED = 16  # to which a terminal folds it at least
_NOTE = 200  # characters of a note; the CSV has all of it
#: Columns of a summary that are shown without values too.
_ALWAYS = ("rank", "entrant", "kind", "PSNR")


@dataclass(frozen=True)
class TextTable:
    """A table of text: its title, and its columns."""

    title: str
    columns: Sequence[Column]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The texts of its rows."""
        return list(zip(*(column.texts for column in self.columns), strict=True))

    @property
    def place(self) -> int:
        """Which column has the entrants."""
        return [column.head for column in self.columns].index("entrant")


def markdown(results: Results, full_legend: bool = False) -> str:
    """Return the board as Markdown that also reads well as plain text."""
    how = short_legend(results) if not full_legend else "\n".join(f"- {line}" for line in legend(results))
    blocks = [f"# {results.suite}", how]
    if checks := checks_line(results):
        blocks.append(checks)
    if overall := _overall(results):
        blocks += ["## All datasets", f"**{overall.title}**", aligned(overall)]
    for board in results.board.datasets:
        blocks.append(f"## {board.dataset}")
        blocks += dataset_lines(board.dataset, results)
        if rates := list(rate_lines(board, results)):
            blocks.append("\n".join(f"- {line}" for line in rates))
        for table in _tables(board):
            blocks += [f"**{table.title}**", aligned(table)]
        if notes := [f"- `{entrant}`: {note}" for entrant, note in notes_below(board)]:
            blocks.append("\n".join(notes))
    return "\n\n".join(blocks) + "\n"


def print_board(results: Results, console: Console, full_legend: bool = False) -> None:
    """Print the board: in colour on a terminal, wrapping long names; as :func:`markdown` elsewhere."""
    if not console.is_terminal:
        # print would wrap at a width that a file does not have.
        console.out(markdown(results, full_legend), end="", highlight=False)
        return

    if overall := _overall(results):
        console.print(Text("\nAll datasets", style="bold"))
        console.print(Text(f"\n{overall.title}", style="italic"))
        console.print(_rich(overall, {row[1] for row in overall.rows if row[0] == cells.DASH}, console.width))
    for board in results.board.datasets:
        console.print(Text(f"\n{board.dataset}", style="bold"))
        for line in (*dataset_lines(board.dataset, results), *rate_lines(board, results)):
            console.print(Text(line, style="dim"))
        unranked = {entry.entrant for entry in board.entries if entry.rank is None}
        for table in (part for whole in _tables(board) for part in _split(whole, console.width, 2, _FOLDED)):
            console.print(Text(f"\n{table.title}", style="italic"))
            console.print(_rich(table, unranked, console.width))
        noted = notes_below(board)
        if noted:
            console.print()
        for entrant, note in noted:
            console.print(Text.assemble((entrant, "bold"), f": {note}"))
    lines = [f"- {line}" for line in legend(results)] if full_legend else [short_legend(results)]
    console.print(Text("\n".join(["", *lines, checks_line(results)]).rstrip(), style="dim"))


def _tables(board: DatasetBoard) -> Iterator[TextTable]:
    """Yield the tables of one dataset that fit a page: the summary, PSNR by noise level, deficits, other metrics."""
    yield _summary(board)
    tables = [_levels(board)] if len(board.sigmas) > 1 else []
    if board.is_known("deficit"):
        tables.append(_deficits(board))
    tables += [_means(board, title, quantities) for title, quantities in metric_columns(board) if quantities]
    for table in tables:
        yield from _split(table, _WIDTH - 1, 3, _LABEL - 3)


def _overall(results: Results) -> TextTable | None:
    """Return the table of means over datasets; ``None`` where there are too few of them."""
    found = results.means_over_datasets
    if not found.rows:
        return None
    columns = overall_columns(found.rows)
    labels = [row.entrant for row in found.rows]
    # Ranks, if there are any, come first.
    columns.insert(columns[0].head == "rank", column("entrant", labels, is_text=True))
    return TextTable(overall_title(found), columns)


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


def _summary(board: DatasetBoard) -> TextTable:
    """Rank, mean PSNR, gain, slope and cost; columns without values are left out."""
    labels = [entry.entrant for entry in board.entries]
    of = partial(estimates_of, board, labels)
    parameters, *costs = cost_columns(board.entries)
    columns = [
        entry_ranks(board.entries),
        column("entrant", labels, is_text=True),
        entry_kinds(board.entries),
        value_column("PSNR", of("psnr")),
        value_column("gain", of("gain_over_baseline"), sign=True),
        column("slope", [cells.number(found.value) for found in of("slope")]),
        replace(parameters, head="params"),
        *costs,
    ]
    return TextTable(summary_title(board), [one for one in columns if one.head in _ALWAYS or one.is_known])


def summary_title(board: DatasetBoard) -> str:
    """Return over which noise levels the means of a dataset are."""
    sigmas = board.sigmas
    title = f"Mean over σ = {', '.join(map(level_name, sigmas))}" if sigmas else "Nothing scored"
    if len(sigmas) == 1:
        title = f"At σ = {level_name(sigmas[0])}; the noisy images have {float(input_psnr(sigmas[0])):.2f} dB"
    return title


def _levels(board: DatasetBoard) -> TextTable:
    """Return the PSNR by noise level, and that of the noisy images below."""
    labels = _known(board, [("psnr", "", sigma) for sigma in board.sigmas])
    found = {sigma: value_column("", estimates_of(board, labels, "psnr", sigma=sigma)).texts for sigma in board.sigmas}
    # Under the values, not under their intervals.
    indent = " " * 6 if any("±" in text for texts in found.values() for text in texts) else ""
    levels = [
        column(f"σ {level_name(sigma)}", [*texts, cells.number(float(input_psnr(sigma))) + indent])
        for sigma, texts in found.items()
    ]
    return TextTable("PSNR by noise level", [column("entrant", [*labels, "(noisy)"], is_text=True), *levels])


def _deficits(board: DatasetBoard) -> TextTable:
    """Return the distances from the optimum of all that were compared with it, in the order of the board."""
    labels = _known(board, [("deficit", "", None)])

    def bracket(head: str, quantity: str, sigma: float | None = None, digits: int = 2) -> Column:
        ends = (estimates_of(board, labels, quantity, part, sigma) for part in ("min", ""))
        return bracket_column(head, *ends, digits=digits)

    columns = [column("entrant", labels, is_text=True)]
    if len(board.sigmas) > 1:
        columns += [bracket("KL (nats)", "kl", digits=3), bracket("mean", "deficit")]
    columns += [bracket(f"σ {level_name(sigma)}", "deficit", sigma) for sigma in board.sigmas]
    return TextTable("Deficit from the optimum in dB, and the KL bound", columns)


def _known(board: DatasetBoard, quantities: Sequence[tuple[str, str, float | None]]) -> list[str]:
    """Return the entrants that have one of some values, in the order of the board."""
    return [
        entry.entrant
        for entry in board.entries
        if any(board.estimate(entry.entrant, *quantity).is_known for quantity in quantities)
    ]


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


def _means(board: DatasetBoard, title: str, quantities: dict[str, tuple[str, str]]) -> TextTable:
    """Return means over noise levels: metrics and parts, by their headings."""
    labels = _known(board, [(*of, None) for of in quantities.values()])
    columns = [column("entrant", labels, is_text=True)]
    for head, of in quantities.items():
        texts = value_column(head, estimates_of(board, labels, *of), digits=3).texts
        # Under the values, where others have intervals.
        indent = " " * 7 if any("±" in text for text in texts) else ""
        columns.append(column(head, [text if "±" in text else text + indent for text in texts]))
    return TextTable(title, columns)


def _split(table: TextTable, limit: int, gap: int, fold: int) -> Iterator[TextTable]:
    """Yield a wide table as several, each with the entrants, whose columns have at most so many characters."""
    title, place = table.title, table.place
    widths = [one.width + gap for one in table.columns]
    widths[place] = min(widths[place], fold + gap)
    kept = list(range(place + 1))
    for number in range(place + 1, len(widths)):
        if kept[-1] != place and sum(widths[one] for one in [*kept, number]) > limit:
            yield TextTable(title, [table.columns[one] for one in kept])
            title, kept = f"{table.title}, continued", [place]
        kept.append(number)
    yield TextTable(title, [table.columns[one] for one in kept])


def table_of_rows(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> TextTable:
    """Return a table of rows of text, the first columns of which are aligned to the left."""
    bodies = zip(*rows, strict=True) if rows else [()] * len(heads)
    return TextTable(
        title, [column(head, body, place < texts) for place, (head, body) in enumerate(zip(heads, bodies, strict=True))]
    )


def aligned(table: TextTable) -> str:
    """Return a Markdown table whose columns line up in plain text."""
    columns = []
    for one in table.columns:
        head, *body = (text.replace("|", "\\|") for text in (one.head, *one.texts))
        width = max(3, *map(len, [head, *body]))
        pad, rule = (str.ljust, "-" * width) if one.is_left else (str.rjust, "-" * (width - 1) + ":")
        columns.append([pad(head, width), rule, *(pad(text, width) for text in body)])
    return "\n".join(f"| {' | '.join(row)} |" for row in zip(*columns, strict=True))


def _rich(table: TextTable, unranked: set[str], width: int) -> Any:
    """Return a table for a terminal of a given width: long entrants wrap, numbers do not."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False, show_edge=False)
    for one in table.columns:
        shown.add_column(Text(one.head), justify="left" if one.is_left else "right", no_wrap=True)
    at, widths = table.place, [one.width for one in table.columns]
    room = max(_FOLDED, width - sum(widths) + widths[at] - 2 * len(widths))
    for row in table.rows:
        style = "dim" if row[at] in unranked or row[at] == "(noisy)" else ""
        shown.add_row(*(Text(cells.folded(cell, room) if i == at else cell) for i, cell in enumerate(row)), style=style)
    return shown
