"""Chosen columns of a board as CSV, Markdown or LaTeX, for papers and spreadsheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from gahbench._util.errors import ParameterError, listing, suggestion
from gahbench._util.latex import escaped
from gahbench.board.board import column_name
from gahbench.board.statistics import UNKNOWN, Estimate
from gahbench.report import cells
from gahbench.report.tables import HEADINGS, Grid, aligned, metric_columns

if TYPE_CHECKING:
    from gahbench.board.board import Board, DatasetBoard, Entry
    from gahbench.board.results import Results

Form = Literal["markdown", "csv", "latex"]
#: Columns by default, where they have values.
COLUMNS = ("rank", "entrant", "kind", "psnr", "gain_over_baseline", "slope", "parameters")
_TEXTS = ("entrant", "kind", "note", "optimum")
_FACTS = ("seeds", *_TEXTS)
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
        table = wide[["dataset", *dict.fromkeys(name for name in ends if name in wide and name != "dataset")]]
        return str(table.to_csv(index=False, lineterminator="\n"))
    blocks = []
    for board in results.board.datasets:
        grid = _grid(board, [name for name in chosen if name not in ("suite", "dataset")])
        blocks.append(latex(grid) if form == "latex" else f"## {board.dataset}\n\n{aligned(grid)}")
    return "\n\n".join(blocks) + "\n"


def _grid(board: DatasetBoard, columns: Sequence[str]) -> Grid:
    # Texts first: tables align them to the left.
    ordered = sorted(columns, key=lambda name: name not in (*_TEXTS, "rank"))
    values = {(value.entrant, column_name(value)): value.estimate for value in board.values}
    rows = [
        [_cell(entry, name, values.get((entry.entrant, name), UNKNOWN)) for name in ordered] for entry in board.entries
    ]
    return Grid(board.dataset, list(map(_heading, ordered)), rows, sum(name in (*_TEXTS, "rank") for name in ordered))


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


def latex(grid: Grid) -> str:
    """Return a table for LaTeX with the rules of the package booktabs."""
    body = [" & ".join(map(escaped, row)) + r" \\" for row in grid.rows]
    head = " & ".join(map(escaped, grid.head)) + r" \\"
    columns = "l" * grid.texts + "r" * (len(grid.head) - grid.texts)
    # A title of several lines would be text of the document.
    lines = [
        f"% {' '.join(grid.title.split())}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
    ]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])
