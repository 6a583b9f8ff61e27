"""Chosen columns of a board as CSV, Markdown or LaTeX, for papers and spreadsheets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from gahbench._util.errors import ParameterError, listing, suggestion
from gahbench._util.latex import escaped
from gahbench.board.statistics import UNKNOWN, Estimate
from gahbench.board.wide import column_name
from gahbench.report import cells
from gahbench.report.tables import Grid, aligned

if TYPE_CHECKING:
    from gahbench.board.board import DatasetBoard, Entry
    from gahbench.board.results import Results

Form = Literal["markdown", "csv", "latex"]
#: Columns by default, where they have values.
COLUMNS = ("rank", "entrant", "kind", "psnr", "gain_over_baseline", "slope", "parameters")
_TEXTS = ("entrant", "kind", "note", "optimum")
_FACTS = ("seeds", *_TEXTS)
_SIGNED = ("gain_over_baseline", "gain_over_noisy")


def exported(results: Results, form: Form, columns: Sequence[str] = ()) -> str:
    """Return boards with chosen columns as text.

    Parameters
    ----------
    form
        ``csv`` has all datasets in one table, with unrounded numbers and the ends of intervals; ``markdown`` and
        ``latex`` one table for each, with halves of intervals.
    columns
        Names of the wide table (:meth:`gahbench.Results.leaderboard`) without the ends of intervals, such as ``psnr``,
        ``psnr@0.1`` or ``ssim``; by default those of a summary.

    Raises
    ------
    ParameterError
        If there is no such column; names those there are.
    """
    wide = results.leaderboard(full=True)
    known = [name for name in wide.columns if not name.endswith(("_low", "_high"))]
    for name in columns:
        if name not in known:
            raise ParameterError(f"no column '{name}'{suggestion(name, known) or ';'} there are: {listing(known)}")
    chosen = list(columns) or [name for name in COLUMNS if wide[name].notna().any()]
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
    title = {"psnr": "PSNR", "gain_over_baseline": "gain", "parameters": "params"}.get(base, base)
    return f"{title}, σ = {level}" if at else title


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
