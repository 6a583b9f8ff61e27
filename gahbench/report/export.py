"""Export of chosen columns of a board as CSV, Markdown or LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from gahbench._util.errors import ParameterError, listing, suggestion
from gahbench._util.readable import escape_latex
from gahbench.board.board import Board, DatasetBoard, Entry, column_name
from gahbench.board.display_names import DisplayNames
from gahbench.board.facts import Cost
from gahbench.board.statistics import UNKNOWN, Interval
from gahbench.report import cells
from gahbench.report.cells import plain_column
from gahbench.report.tables import TextTable, markdown_table, metric_columns

if TYPE_CHECKING:
    from gahbench.board.results import Results

Form = Literal["markdown", "csv", "latex"]
#: Columns that are exported by default, if they have values.
COLUMNS = ("rank", "entrant", "kind", "psnr", "gain_over_baseline", "slope", "parameters")
_TEXTS = ("entrant", "kind", "note", "optimum")
#: Headings of columns of :func:`gahbench.board.board.wide_table`, by name, where they differ from the name.
HEADINGS = {
    "psnr": "PSNR",
    "gain_over_baseline": "gain",
    "kl": "KL (nats)",
    "parameters": "params",
    "multiply_adds_per_pixel": "multiply-adds per pixel",
    "seconds_per_megapixel": "seconds per megapixel",
    "training_images": "training images",
    "measured_on": "measured on",
    "train_seconds": "training",
}
_COST_TEXTS: dict[str, Callable[[Cost], str]] = {
    "train_seconds": lambda cost: cells.duration(cost.train_seconds),
    "multiply_adds_per_pixel": lambda cost: cells.magnitude(cost.multiply_adds),
    "seconds_per_megapixel": lambda cost: cells.seconds(cost.seconds),
    "training_images": lambda cost: cells.count(cost.training_images),
    "measured_on": lambda cost: cost.machine or cells.DASH,
}
_SIGNED = ("gain_over_baseline", "gain_over_noisy")


def export_board(results: Results, form: Form, columns: Sequence[str] = ()) -> str:
    """Return the board with chosen columns as CSV, Markdown or LaTeX."""
    wide = results.leaderboard(full=True)
    known = [name for name in wide.columns if not name.endswith(("_low", "_high"))]
    by_heading = _names_by_heading(results.board, known)
    chosen = list(dict.fromkeys(_column_name(column, known, by_heading) for column in columns))
    chosen = chosen or [name for name in COLUMNS if wide[name].notna().any()]
    if "entrant" not in chosen:
        # Every row needs the name of its entrant.
        chosen.insert(chosen[:1] == ["rank"], "entrant")
    if form == "csv":
        ends = [f"{name}{end}" for name in chosen for end in ("", "_low", "_high")]
        chosen_columns = wide[["dataset", *dict.fromkeys(name for name in ends if name in wide and name != "dataset")]]
        return str(chosen_columns.to_csv(index=False, lineterminator="\n"))
    blocks = []
    for board in results.board.datasets:
        columns = [name for name in chosen if name not in ("suite", "dataset")]
        table = _chosen_columns_table(board, columns, results.names)
        blocks.append(latex(table) if form == "latex" else f"## {table.title}\n\n{markdown_table(table)}")
    return "\n\n".join(blocks) + "\n"


def _chosen_columns_table(board: DatasetBoard, chosen: Sequence[str], names: DisplayNames) -> TextTable:
    # Text columns come first.
    texts = (*_TEXTS, "rank")
    values = {(value.entrant, column_name(value)): value.estimate for value in board.values}
    columns = []
    for name in sorted(chosen, key=lambda name: name not in texts):
        cell_texts = [_cell_text(entry, name, values.get((entry.entrant, name), UNKNOWN)) for entry in board.entries]
        cell_texts = list(map(names.entrant, cell_texts)) if name == "entrant" else cell_texts
        columns.append(plain_column(_heading(name), cell_texts, is_text=name in texts))
    return TextTable(names.dataset(board.dataset), columns)


def _heading(name: str) -> str:
    base, at, level = name.partition("@")
    title = HEADINGS.get(base, base)
    return f"{title}, σ {level}" if at else title


def _names_by_heading(board: Board, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of columns by the heading, in lower case, that they have in the board's tables."""
    pairs = []
    for name in names:
        base, at, level = name.partition("@")
        if base in HEADINGS:
            pairs += [(f"{HEADINGS[base]}{at}{level}", name), (_heading(name), name)]
        if at and base == "psnr":
            pairs.append((f"σ {level}", name))
    for dataset_board in board.datasets:
        for _, columns in metric_columns(dataset_board):
            pairs += [(head, f"{metric}.{part}" if part else metric) for head, (metric, part) in columns.items()]
    by_heading: dict[str, list[str]] = {}
    for heading, name in dict.fromkeys((heading.lower(), name) for heading, name in pairs):
        by_heading.setdefault(heading, []).append(name)
    return by_heading


def _column_name(requested: str, names: Sequence[str], by_heading: Mapping[str, Sequence[str]]) -> str:
    """Return the name of the column with a given name or heading."""
    if requested in names:
        return requested
    matches = by_heading.get(requested.lower(), [])
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ParameterError(f"'{requested}' is the heading of several columns; accepted: {listing(matches)}")
    overall = [HEADINGS.get(name, name) for name in names if "@" not in name]
    levels = listing(dict.fromkeys(f"PSNR@{name.partition('@')[2]}" for name in names if "@" in name))
    at = f"; at a noise level {levels}, and likewise for other columns" if levels != "none" else ""
    hint = suggestion(requested, [*names, *by_heading]) or ";"
    raise ParameterError(f"no column '{requested}'{hint} accepted: {listing(overall)}{at}")


def _cell_text(entry: Entry, name: str, estimate: Interval) -> str:
    if name == "rank":
        return cells.rank_text(entry)
    if name == "parameters":
        return cells.count(entry.parameters)
    if name in _COST_TEXTS:
        return _COST_TEXTS[name](entry.cost)
    if name == "optimal_slope":
        return cells.number(entry.optimal_slope)
    if name in ("seeds", *_TEXTS):
        value = getattr(entry, name)
        return cells.DASH if value is None else str(value)
    return cells.format_interval(estimate, name.partition("@")[0] in _SIGNED)


def latex(table: TextTable) -> str:
    """Return a LaTeX table in the style of the package booktabs."""
    rows = [[column.head for column in table.columns], *table.rows]
    head, *body = (" & ".join(map(escape_latex, row)) + r" \\" for row in rows)
    layout = "".join("l" if column.is_left else "r" for column in table.columns)
    # Only the first line of the title would be a comment, so it is joined to one line.
    title = f"% {' '.join(table.title.split())}"
    rules = (r"\toprule", head, r"\midrule", *body, r"\bottomrule")
    return "\n".join([title, rf"\begin{{tabular}}{{{layout}}}", *rules, r"\end{tabular}"])
