"""Documents and tables as text: for terminals, and in Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from gahbench._util.readable import escape_latex, pluralize
from gahbench.board.results import Results
from gahbench.board.tables import SUFFIXES
from gahbench.report.cells import fold_label
from gahbench.report.columns import BY_NAME, SUMMARY, Column, Table, board_columns, choose_columns, table_of_board
from gahbench.report.document import build_document
from gahbench.report.page.readme import read_readme

Form = Literal["markdown", "csv", "latex"]
#: The lines of a printed summary, and the entrants in it.
MAX_LINES, MAX_ENTRANTS = 22, 12
#: The smallest and the usual width of labels, and the width of a line of a heading, in characters.
_MIN_LABEL, _LABEL, _HEAD = 16, 28, 12


def markdown(results: Results) -> str:
    """Return a board in Markdown: its answer, a summary and a table for each dataset; the CSV has all values."""
    document = build_document(results)
    version = [] if results.version is None else [f"The suite is frozen: {results.version}."]
    over = "" if results.baseline is None else f"over {results.names.entrant(results.baseline)}."
    baseline = [f"Gain: {over}"] if over and over not in document.answer else []
    legend = "PSNR and gain: means in dB. Ranks and ±: 95 % intervals. `leaderboard.csv` has all values."
    blocks = [f"# {results.suite}", " ".join([document.answer, *document.warnings, *version, *baseline, legend])]
    if document.summary is not None:
        blocks += [f"**{document.summary.title}**", markdown_table(document.summary)]
    for section in document.datasets:
        blocks.append(f"**{section.table.title}**: {' '.join(section.sentences)}".rstrip(": "))
        blocks.append(markdown_table(section.table.view(SUMMARY)))
        blocks += ["\n".join(f"- {name}: {note}" for name, note in section.notes)] if section.notes else []
    if document.names.rows:
        blocks.append(markdown_table(document.names))
    return "\n\n".join(blocks) + "\n"


def print_board(results: Results, console: Console, folder: Path | None = None) -> None:
    """Print a board in at most 22 lines, which three lines of the command follow: entrants, answer and warnings."""
    document = build_document(results)
    headline = "" if folder is None else read_readme(folder).headline
    lines = [Text(line) for line in (f"{headline}." if headline else document.answer, *document.warnings)]
    table = document.summary
    if table is None and document.datasets:
        first = document.datasets[0]
        chosen = [index for index, column in enumerate(first.table.columns) if column.name != "kind"]
        table = replace(first.table.choose(chosen).view(SUMMARY), title=f"{first.table.title}: {first.sentences[0]}")
    if table is not None and table.rows:
        part, *others = _parts(table, console.width)
        heading, count = Text(part.title, style="italic"), min(len(part.rows), MAX_ENTRANTS)
        # A line says how many entrants and columns are left out.
        left = MAX_LINES - 1 - sum(len(console.render_lines(line)) for line in (heading, *lines))
        while count > 1 and len(console.render_lines(_rich_table(part, console.width, count))) > left:
            count -= 1
        console.print(heading)
        console.print(_rich_table(part, console.width, count))
        hidden = [pluralize(len(table.rows) - count, "more entrant")] if count < len(table.rows) else []
        hidden += [pluralize(sum(len(other.columns) - 1 for other in others), "more column")] if others else []
        if hidden:
            console.print(Text(f"{', '.join(hidden)}: --full", style="dim"))
    for line in lines:
        console.print(line)


def print_tables(
    results: Results, console: Console, entrants: Collection[str] | None = None, is_full: bool = False
) -> None:
    """Print the table of each dataset, of all entrants or of those with the given labels.

    With ``is_full``, all views of the tables, the specs of names and the meaning of columns are printed.
    """
    document = build_document(results, entrants)
    for section in document.datasets:
        console.print(Text(f"\n{section.table.title}", style="bold"))
        console.print(Text(" ".join(section.sentences), style="dim"))
        for view in section.table.views if is_full else [SUMMARY]:
            for part in _parts(section.table.view(view), console.width):
                if is_full:
                    console.print(Text(view, style="italic"))
                console.print(_rich_table(part, console.width))
        for name, note in section.notes:
            console.print(Text.assemble((name, "bold"), f": {note}"))
    if is_full:
        specs = {name.text: spec.text for name, spec in document.names.rows}
        for title, entries in ("Names", specs), ("Columns", document.legend):
            console.print(Text(f"\n{title}", style="bold"))
            for term, text in entries.items():
                console.print(Text.assemble((term, "bold"), f": {text}"))


def _parts(table: Table, width: int) -> list[Table]:
    """Split a table into tables of at most a number of characters a line, each with the column of entrants."""
    entrant = [column.name for column in table.columns].index("entrant")
    widths = _widths(table)
    widths[entrant] = min(widths[entrant], _LABEL)
    parts = [[entrant]]
    for index in range(len(widths)):
        if index != entrant:
            if len(parts[-1]) > 1 and sum(widths[i] + 2 for i in (*parts[-1], index)) - 2 > width:
                parts.append([entrant])
            parts[-1].append(index)
    return [table.choose(sorted(part)) for part in parts]


def _widths(table: Table) -> list[int]:
    heads = [max(map(len, fold_label(column.head, _HEAD).split("\n"))) for column in table.columns]
    return [max(head, *(len(row[index].text) for row in table.rows)) for index, head in enumerate(heads)]


def _rich_table(table: Table, width: int, count: int | None = None) -> RichTable:
    """Return the first rows of a table, by default all, for a terminal of a width; labels wrap."""
    rich_table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False, show_edge=False)
    entrant, widths = [column.name for column in table.columns].index("entrant"), _widths(table)
    widths[entrant] = max(_MIN_LABEL, width - sum(widths) + widths[entrant] - 2 * (len(widths) - 1))
    for column in table.columns:
        head = Text(fold_label(column.head, _HEAD))
        rich_table.add_column(head, justify="left" if _is_left(column) else "right", no_wrap=True)
    for row in table.rows[:count]:
        # Gains are coloured if their interval excludes 0.
        styles = [("bright_blue" if cell.step > 0 else "dark_orange") if cell.step else "" for cell in row]
        texts = [fold_label(cell.text, size) for cell, size in zip(row, widths, strict=True)]
        rich_table.add_row(*map(Text, texts, styles))
    return rich_table


def _is_left(column: Column) -> bool:
    return column.is_text or column.name == "rank"


def markdown_table(table: Table) -> str:
    """Return a Markdown table whose columns line up in plain text."""
    columns = []
    for index, column in enumerate(table.columns):
        head, *body = (text.replace("|", "\\|") for text in (column.head, *(row[index].text for row in table.rows)))
        width = max(3, *map(len, [head, *body]))
        pad, rule = (str.ljust, "-" * width) if _is_left(column) else (str.rjust, "-" * (width - 1) + ":")
        columns.append([pad(head, width), rule, *(pad(text, width) for text in body)])
    return "\n".join(f"| {' | '.join(row)} |" for row in zip(*columns, strict=True))


def latex(table: Table) -> str:
    """Return a LaTeX table in the style of the package booktabs."""
    texts = [[column.head for column in table.columns], *([cell.text for cell in row] for row in table.rows)]
    head, *body = (" & ".join(map(escape_latex, row)) + r" \\" for row in texts)
    layout = "".join("l" if _is_left(column) else "r" for column in table.columns)
    # Only the first line of the title would be a comment, so it is joined to one line.
    title = f"% {' '.join(table.title.split())}"
    rules = (r"\toprule", head, r"\midrule", *body, r"\bottomrule")
    return "\n".join([title, rf"\begin{{tabular}}{{{layout}}}", *rules, r"\end{tabular}"])


def export_board(results: Results, form: Form, columns: Sequence[str] = ()) -> str:
    """Return a board with chosen columns, or those of the summary, as CSV, Markdown or LaTeX."""
    wide = results.leaderboard(full=True)
    known = board_columns(results, wide)
    summary = [column for column in known if SUMMARY in column.views and wide[column.name].notna().any()]
    chosen = choose_columns(known, columns) if columns else summary
    if BY_NAME["entrant"] not in chosen:
        # Every row needs the name of its entrant.
        chosen.insert(chosen[0].name == "rank", BY_NAME["entrant"])
    if form == "csv":
        names = dict.fromkeys(f"{column.name}{end}" for column in (BY_NAME["dataset"], *chosen) for end in SUFFIXES)
        return str(wide[[name for name in names if name in wide]].to_csv(index=False, lineterminator="\n"))
    chosen = [column for column in chosen if column.name not in ("suite", "dataset")]
    blocks = []
    for dataset, rows in wide.groupby("dataset", sort=False):
        table = table_of_board(results.names.dataset(str(dataset)), chosen, rows, results.names)
        blocks.append(latex(table) if form == "latex" else f"## {table.title}\n\n{markdown_table(table)}")
    return "\n\n".join(blocks) + "\n"
