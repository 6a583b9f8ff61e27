"""Chosen columns of a board as CSV, Markdown or LaTeX, for papers and spreadsheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from gahbench._util.errors import ParameterError, listing, suggestion
from gahbench._util.latex import escaped
from gahbench.board.board import column_name
from gahbench.board.statistics import UNKNOWN, Estimate
from gahbench.report import cells
from gahbench.report.columns import column
from gahbench.report.tables import TextTable, aligned, metric_columns

if TYPE_CHECKING:
    from gahbench.board.board import Board, DatasetBoard, Entry
    from gahbench.board.results import Results

Form = Literal["markdown", "csv", "latex"]
#: Columns by default, where they have values.
COLUMNS = ("rank", "entrant", "kind", "psnr", "gain_over_baseline", "slope", "parameters")
_TEXTS = ("entrant", "kind", "note", "optimum")
_FACTS = ("seeds", *_TEXTS)
#: Headings of columns of the wide table (:func:`gahbench.board.board.wide_table`) whose names are longer.
HEADINGS = {
    "psnr": "PSNR",
    "gain_over_baseline": "gain",
    "kl": "KL (nats)",
    "parameters": "params",
    "train_seconds": "training",
}
_SIGNED = ("gain_over_baseline", "gain_over_noisy")


def exported(results: Results, form: Form, columns: Sequence[str] = ()) -> str:
    """Return boards with chosen columns as text."""
    wide = results.leaderboard(full=True)
    known = [name for name in wide.columns if not name.endswith(("_low", "_high"))]
    by_heading = _by_heading(results.board, known)
    chosen = [_column(asked, known, by_heading) for asked in columns]
    chosen = list(dict.fromkeys(chosen)) or [name for name in COLUMNS if wide[name].notna().any()]
    if "entrant" not in chosen:
        # Numbers alone would not say whose they are.
        chosen.insert(chosen[:1] == ["rank"], "entrant")
    if form == "csv":
        ends = [f"{name}{end}" for name in chosen for end in ("", "_low", "_high")]
        chosen_columns = wide[["dataset", *dict.fromkeys(name for name in ends if name in wide and name != "dataset")]]
        return str(chosen_columns.to_csv(index=False, lineterminator="\n"))
    blocks = []
    for board in results.board.datasets:
        table = _table(board, [name for name in chosen if name not in ("suite", "dataset")])
        blocks.append(latex(table) if form == "latex" else f"## {board.dataset}\n\n{aligned(table)}")
    return "\n\n".join(blocks) + "\n"


def _table(board: DatasetBoard, names: Sequence[str]) -> TextTable:
    # Texts first: tables align them to the left.
    ordered = sorted(names, key=lambda name: name not in (*_TEXTS, "rank"))
    values = {(value.entrant, column_name(value)): value.estimate for value in board.values}
    columns = []
    for name in ordered:
        texts = [_cell(entry, name, values.get((entry.entrant, name), UNKNOWN)) for entry in board.entries]
        columns.append(column(_heading(name), texts, is_text=name in (*_TEXTS, "rank")))
    return TextTable(board.dataset, columns)


def _heading(name: str) -> str:
    base, at, level = name.partition("@")
    title = HEADINGS.get(base, base)
    return f"{title}, σ {level}" if at else title


def _by_heading(board: Board, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns that stand below each heading of the board's tables, by the heading in lower case."""
    found: dict[str, list[str]] = {}
    for name in names:
        base, at, level = name.partition("@")
        headings = [f"{HEADINGS[base]}{at}{level}", _heading(name)] if base in HEADINGS else []
        headings += [f"σ {level}"] if at and base == "psnr" else []
        for heading in headings:
            found.setdefault(heading.lower(), []).append(name)
    for one in board.datasets:
        for _, columns in metric_columns(one):
            for heading, (metric, part) in columns.items():
                name = f"{metric}.{part}" if part else metric
                found.setdefault(heading.lower(), []).append(name)
    return {heading: list(dict.fromkeys(columns)) for heading, columns in found.items()}


def _column(asked: str, names: Sequence[str], by_heading: Mapping[str, Sequence[str]]) -> str:
    """Return the name of the column that a name or a heading means."""
    if asked in names:
        return asked
    meant = by_heading.get(asked.lower(), [])
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise ParameterError(f"'{asked}' is the heading of several columns; accepted: {listing(meant)}")
    overall = [HEADINGS.get(name, name) for name in names if "@" not in name]
    levels = listing(dict.fromkeys(f"PSNR@{name.partition('@')[2]}" for name in names if "@" in name))
    at = f"; at a noise level {levels}, and so for others" if levels != "none" else ""
    near = suggestion(asked, [*names, *by_heading]) or ";"
    raise ParameterError(f"no column '{asked}'{near} accepted: {listing(overall)}{at}")


def _cell(entry: Entry, name: str, estimate: Estimate) -> str:
    if name == "rank":
        return cells.rank(entry.rank, entry.rank_high, bool(entry.marks))
    if name == "parameters":
        return cells.count(entry.parameters)
    if name == "train_seconds":
        return cells.duration(entry.train_seconds)
    if name == "optimal_slope":
        return cells.number(entry.optimal_slope)
    if name in _FACTS:
        value: Any = getattr(entry, name)
        return cells.DASH if value is None else str(value)
    return cells.with_half_width(estimate, name.partition("@")[0] in _SIGNED)


def latex(table: TextTable) -> str:
    """Return a table for LaTeX with the rules of the package booktabs."""
    head, *body = (
        " & ".join(map(escaped, row)) + r" \\" for row in ([column.head for column in table.columns], *table.rows)
    )
    layout = "".join("l" if column.is_left else "r" for column in table.columns)
    # A title of several lines would be text of the document.
    title = f"% {' '.join(table.title.split())}"
    rules = (r"\toprule", head, r"\midrule", *body, r"\bottomrule")
    return "\n".join([title, rf"\begin{{tabular}}{{{layout}}}", *rules, r"\end{tabular}"])
