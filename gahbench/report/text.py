"""Documents and tables as text: for terminals, and in Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from gahbench._util.readable import escape_latex, pluralize
from gahbench.report.cells import fold_label
from gahbench.report.columns import COLUMNS, SUMMARY, Cell, Column, Table, choose_columns, table_of_board
from gahbench.report.document import STEPS, build_document
from gahbench.report.page.readme import read_readme

if TYPE_CHECKING:
    from gahbench.board.results import Results

Form = Literal["markdown", "csv", "latex"]
#: The lines of a printed summary, and the entrants in it.
MAX_LINES, MAX_ENTRANTS = 22, 12
#: The smallest and the usual width of labels, and the width of a line of a heading, in characters.
_MIN_LABEL, _LABEL, _HEAD = 16, 28, 10
#: The colours of the largest gain and of the largest loss: red, green and blue from 0 to 255.
_GAIN, _LOSS = (90, 155, 216), (230, 147, 111)


def markdown(results: Results) -> str:
    """Return a board in Markdown: its answer, a summary and a table for each dataset; the CSV has all values."""
    document = build_document(results)
    version = [] if results.version is None else [f"The suite is frozen: {results.version}."]
    over = "" if results.baseline is None else f"over {results.names.entrant(results.baseline)}."
    baseline = [f"Gain: {over}"] if over and over not in document.answer else []
    legend = "PSNR and gain: means in dB. Ranks and ±: 95 % intervals. `leaderboard.csv` has all values."
    blocks = [f"# {document.title}", " ".join([document.answer, *document.warnings, *version, *baseline, legend])]
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
    text = "" if folder is None else read_readme(folder).headline
    lines = [f"{text}." if text else document.answer, *document.warnings]
    used = sum(len(Text(line).wrap(console, console.width)) for line in lines)
    table = document.summary
    if table is None and document.datasets:
        first = document.datasets[0]
        shown_columns = [index for index, column in enumerate(first.table.columns) if column.name != "kind"]
        table = first.table.choose(shown_columns).view(SUMMARY)
        table = replace(table, title=" ".join([f"{table.title}:", *first.sentences[:1]]))
    if table is not None and table.rows:
        part, *others = _parts(table, console.width)
        shown = _print_table(part, console, MAX_LINES - used - 1)
        hidden = [pluralize(len(table.rows) - shown, "more entrant")] if shown < len(table.rows) else []
        hidden += [pluralize(sum(len(other.columns) - 1 for other in others), "more column")] if others else []
        if hidden:
            console.print(Text(f"{', '.join(hidden)}: --full", style="dim"))
    for line in lines:
        console.print(Text(line))


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
                _print_table(replace(part, title=view if is_full else ""), console)
        for name, note in section.notes:
            console.print(Text.assemble((name, "bold"), f": {note}"))
    if is_full:
        specs = {name.text: spec.text for name, spec in document.names.rows}
        for title, entries in ("Names", specs), ("Columns", document.legend):
            console.print(Text(f"\n{title}", style="bold"))
            for term, text in entries.items():
                console.print(Text.assemble((term, "bold"), f": {text}"))


def _parts(table: Table, width: int) -> Iterator[Table]:
    """Split a table into tables of at most a number of characters a line, each with the column of entrants."""
    (entrant,) = (index for index, column in enumerate(table.columns) if column.name == "entrant")
    widths = [_width(table, index) + 2 for index in range(len(table.columns))]
    widths[entrant] = min(widths[entrant], _LABEL + 2)
    indices: list[int] = []
    for index in range(len(widths)):
        if index != entrant and indices and sum(widths[i] for i in {*indices, index, entrant}) - 2 > width:
            yield table.choose(sorted({*indices, entrant}))
            indices = []
        indices.append(index)
    yield table.choose(sorted({*indices, entrant}))


def _width(table: Table, index: int) -> int:
    heads = fold_label(table.columns[index].head, _HEAD).split("\n")
    return max(map(len, [*heads, *(row[index].text for row in table.rows)]))


def _print_table(table: Table, console: Console, limit: int | None = None) -> int:
    """Print as many rows of a table as fit into a number of lines, and return their number; labels wrap."""
    rich_table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False, show_edge=False)
    heads = [fold_label(column.head, _HEAD) for column in table.columns]
    for column, head in zip(table.columns, heads, strict=True):
        rich_table.add_column(Text(head), justify="left" if _is_left(column) else "right", no_wrap=True)
    others = sum(_width(table, index) + 2 for index, column in enumerate(table.columns) if column.name != "entrant")
    label_width = max(_MIN_LABEL, console.width - others)
    shown = 0
    left = MAX_LINES if limit is None else limit - 2 - max(head.count("\n") + 1 for head in heads)
    for row in table.rows:
        texts = [
            fold_label(cell.text, label_width) if column.name == "entrant" else cell.text
            for column, cell in zip(table.columns, row, strict=True)
        ]
        left -= max(text.count("\n") + 1 for text in texts) if limit is not None else 0
        if limit is not None and (left < 0 or (shown == MAX_ENTRANTS and len(table.rows) > MAX_ENTRANTS + 1)):
            break
        rich_table.add_row(*(Text(text, _style(cell)) for text, cell in zip(texts, row, strict=True)))
        shown += 1
    if table.title:
        console.print(Text(table.title, style="italic"))
    console.print(rich_table)
    return shown


def _style(cell: Cell) -> str:
    """Return the style of a gain, which is coloured if its interval excludes 0."""
    if not cell.step:
        return ""
    share = abs(cell.step) / (len(STEPS) + 1)
    colour = (round(255 + share * (end - 255)) for end in (_GAIN if cell.step > 0 else _LOSS))
    return f"black on rgb({','.join(map(str, colour))})"


def _is_left(column: Column) -> bool:
    return column.is_text or column.name == "rank"


def table_of_rows(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], texts: int) -> Table:
    """Return a table of the given rows, whose first ``texts`` columns are aligned to the left."""
    columns = [Column(head, form=str if index < texts else None) for index, head in enumerate(heads)]
    return Table(title, columns, [[Cell(text) for text in row] for row in rows])


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
    summary = [column for column in COLUMNS if SUMMARY in column.views and wide[column.name].notna().any()]
    chosen = choose_columns(results, columns) if columns else summary
    if all(column.name != "entrant" for column in chosen):
        # Every row needs the name of its entrant.
        chosen.insert(chosen[0].name == "rank", next(column for column in COLUMNS if column.name == "entrant"))
    if form == "csv":
        ends = [f"{column.name}{end}" for column in chosen for end in ("", "_low", "_high")]
        shown = wide[["dataset", *(name for name in dict.fromkeys(ends) if name in wide and name != "dataset")]]
        return str(shown.to_csv(index=False, lineterminator="\n"))
    chosen = [column for column in chosen if column.name not in ("suite", "dataset")]
    blocks = []
    for dataset, rows in wide.groupby("dataset", sort=False):
        table = table_of_board(results.names.dataset(str(dataset)), chosen, rows, results.names, is_complete=True)
        blocks.append(latex(table) if form == "latex" else f"## {table.title}\n\n{markdown_table(table)}")
    return "\n\n".join(blocks) + "\n"
