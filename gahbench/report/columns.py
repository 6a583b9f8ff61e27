"""Columns of boards: each is one line here, and appears in the terminal, Markdown, HTML, LaTeX, CSV and the legend."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from gahbench._util.errors import ParameterError, listing, suggestion
from gahbench.board.estimates import CLASHING, RESERVED, SOURCE
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.statistics import Interval
from gahbench.report import cells

if TYPE_CHECKING:
    from gahbench.board.display_names import DisplayNames
    from gahbench.board.results import Results

#: The view that Markdown shows and that pages show first; other views are shown on request.
SUMMARY = "summary"
_COST = "cost"


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, its sort key on pages if the text does not begin with it, its link, its colour.

    ``step`` is the signed step of the colour of a gain, 0 without a colour.
    """

    text: str
    key: str = ""
    link: str = ""
    step: int = 0


@dataclass(frozen=True)
class Column:
    """A column of tables.

    Parameters
    ----------
    head
        The heading.
    name
        The column of ``leaderboard.csv`` that has the values; the ends of their intervals are in ``name_low`` and
        ``name_high``, and a lower limit, if a value is only known to lie between two limits, in ``name_min``.
    unit
        The unit, which the legend names.
    signed
        Whether positive values have a sign.
    digits
        The number of decimals.
    views
        The names of the tables that show the column.
    meaning
        The definition, for the legend and for tooltips.
    form
        The function that formats a value without an interval; ``None`` for values with intervals.
    """

    head: str
    name: str = ""
    unit: str = ""
    signed: bool = False
    digits: int = 2
    views: tuple[str, ...] = (SUMMARY,)
    meaning: str = ""
    form: Callable[[Any], str] | None = None

    @property
    def is_text(self) -> bool:
        """Whether the column holds text, which is aligned to the left."""
        return self.form is str

    def at(self, level: str) -> Column:
        """Return the column of the same quantity at a noise level, given by its name in ``leaderboard.csv``."""
        return replace(self, head=f"{self.head}, σ {level}", name=f"{self.name}@{level}", views=(f"{self.head} by σ",))

    def cell(self, row: Mapping[str, Any], names: DisplayNames) -> Cell:
        """Return the cell of a row of ``leaderboard.csv``."""
        value = row.get(self.name)
        if isinstance(value, Cell):
            return value
        if self.name == "rank":
            is_flagged = str(row.get("note", "")).startswith("flagged: ")
            low, high = (None if pd.isna(row[name]) else int(row[name]) for name in ("rank", "rank_high"))
            return Cell(cells.rank(low, high, is_flagged))
        if self.name == "entrant":
            return Cell(names.entrant(str(value)))
        if self.form is not None:
            if pd.isna(value) or value == "":
                return Cell(cells.DASH)
            return Cell(self.form(value), "" if isinstance(value, str) else f"{value:g}")
        base, at, level = self.name.partition("@")
        lower = Interval(row.get(f"{base}_min{at}{level}", math.nan))
        estimate = Interval(*(row.get(f"{self.name}{end}", math.nan) for end in ("", "_low", "_high")))
        if lower.is_known:
            return Cell(cells.between(lower, estimate, self.digits))
        return Cell(cells.format_interval(estimate, self.signed, self.digits))


#: The columns of every board, in their order; metrics of plugins follow (:func:`board_columns`).
COLUMNS = (
    Column(
        "rank",
        "rank",
        meaning="By mean PSNR, 1 + the number of entrants that are better; 2–4 is the interval of a rank. Ranks are "
        "95 % simultaneous intervals from paired differences. Oracles, which see the clean image, optimal denoisers, "
        "which know the distribution, and entrants without an interval have no rank (–). Networks whose spread over "
        "training runs is unknown are not compared with each other. !: flagged, as the note says.",
    ),
    Column("entrant", "entrant", form=str),
    Column("kind", "kind", form=str, meaning="Trained, classical, oracle, optimal, or bound."),
    Column(
        "PSNR",
        "psnr",
        unit="dB",
        meaning="−10·log10 of the mean squared error of an image in [0, 1]; the mean over test images, training seeds "
        "and, unless a level is named, noise levels. Noisy images have −20·log10 σ dB.",
    ),
    Column(
        "gain",
        "gain_over_baseline",
        unit="dB",
        signed=True,
        meaning="The difference in PSNR from the baseline, paired by image and noise.",
    ),
    Column(
        "deficit",
        "deficit",
        unit="dB",
        meaning="The distance from the optimum: the ratio of the mean squared error to that of the optimum. If only a "
        "bound is known, it has two limits: relative to the best denoiser of the board, and relative to the bound.",
    ),
    Column(
        "KL",
        "kl",
        unit="nats",
        digits=3,
        views=("slope and KL",),
        meaning="A bound on the Kullback-Leibler divergence of the density that a denoiser models from the true one, "
        "per pixel and channel, integrated over the noise levels of the suite. If only a bound is known, the upper "
        "limit is a looser bound on the divergence, and the lower limit is not a bound.",
    ),
    Column(
        "slope",
        "slope",
        views=(SUMMARY, "slope and KL"),
        meaning="Output dB per input dB, fitted over all σ. The optimal slope, α/(α+1) for C^α images, is the limit "
        "for σ → 0, which slopes over stronger noise cannot test.",
    ),
    Column("params", "parameters", form=cells.count, views=(SUMMARY, _COST), meaning="The number of trained values."),
    Column(
        "s/Mpx",
        "seconds_per_megapixel",
        form=cells.seconds,
        views=(SUMMARY, _COST),
        meaning="The seconds that denoising a megapixel takes: the fastest of several batches on the machine that "
        "leaderboard.csv names. Oracles and optimal denoisers are not timed.",
    ),
    Column(
        "multiply-adds per pixel",
        "multiply_adds_per_pixel",
        form=cells.magnitude,
        views=(_COST,),
        meaning="Of one forward pass, in convolutions and matrix products, divided by the number of pixels.",
    ),
    Column(
        "training images",
        "training_images",
        form=cells.count,
        views=(_COST,),
        meaning="The number of noisy images that a network saw in training, with repetitions.",
    ),
    Column("training", "train_seconds", form=cells.duration, meaning="The mean time that training a network took."),
    Column("seeds", "seeds", form=lambda seeds: f"{seeds}", views=(_COST,), meaning="The number of training runs."),
)
_BY_NAME = {column.name: column for column in COLUMNS}
#: Columns of facts that are shown only if they are asked for.
_FACTS = {name: Column(name, name, form=str) for name in ("optimum", "measured_on", "note")} | {
    "optimal_slope": Column("optimal slope", "optimal_slope", form=cells.number),
    "gain_over_noisy": Column("gain over noisy", "gain_over_noisy", unit="dB", signed=True),
}
#: The quantities that boards show at each noise level.
_AT_LEVELS = ("psnr", "gain_over_baseline", "deficit")
#: Metrics of directions and alignments, which come before other metrics.
_FIRST = ("truth-direction", "direction", "truth-alignment", "alignment")


@dataclass(frozen=True)
class Table:
    """A table: its title, its columns, and a cell of each row for each column."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    @property
    def views(self) -> list[str]:
        """The views of the columns, the summary first."""
        return list(dict.fromkeys(view for column in self.columns for view in column.views))

    def view(self, view: str) -> Table:
        """Return the columns of a view with the column of entrants, and for a view the rows that have values."""
        shown = [column for column in self.columns if view in column.views or column.name == "entrant"]
        table = self.choose([self.columns.index(column) for column in shown])
        known = [row for row in table.rows if view == SUMMARY or any(cell.text != cells.DASH for cell in row[1:])]
        return replace(table, rows=known)

    def choose(self, indices: Sequence[int]) -> Table:
        """Return the columns with the given indices."""
        rows = [[row[index] for index in indices] for row in self.rows]
        return Table(self.title, [self.columns[index] for index in indices], rows)


def table_of_board(
    title: str, columns: Sequence[Column], board: pd.DataFrame, names: DisplayNames, is_complete: bool = False
) -> Table:
    """Return the columns of a board, a row for each row of the board.

    Parameters
    ----------
    title
        The title of the table.
    columns
        The columns, of which those that the board does not have are left out.
    board
        Rows of ``leaderboard.csv``.
    names
        The display names of entrants.
    is_complete
        Whether columns without values are shown too.
    """
    shown = [column for column in columns if column.name in board]
    records: Sequence[Any] = board.to_dict("records")
    rows = [[column.cell(record, names) for column in shown] for record in records]
    known = [any(row[index].text != cells.DASH for row in rows) for index in range(len(shown))]
    return Table(title, shown, rows).choose([index for index in range(len(shown)) if is_complete or known[index]])


def board_columns(results: Results, known: Sequence[str]) -> list[Column]:
    """Return the columns of a board in their order: those of every board, those at noise levels, and metrics.

    A metric has the title that its plugin states as its meaning; values at noise levels are in ``leaderboard.csv``,
    whose columns are ``known``.
    """
    titles = dict(zip(map(str, results.metrics["metric"]), map(str, results.metrics["title"]), strict=True))
    levels = [name.partition("@")[2] for name in known if name.startswith("psnr@")]
    levels = [level for level in levels if not level.endswith(("_low", "_high"))]
    at_levels = [_BY_NAME[name].at(level) for name in _AT_LEVELS for level in levels if len(levels) > 1]
    sources = [_column(name) for name in known if name.startswith(f"psnr_{SOURCE}")]
    metrics = [
        replace(_column(name), meaning=titles.get(name.removeprefix(CLASHING), ""))
        for name in known
        if "@" not in name and name not in RESERVED and not name.endswith(("_low", "_high"))
        if not name.startswith("psnr_")
    ]

    def order(column: Column) -> int:
        family = column.views[0]
        return _FIRST.index(family) if family in _FIRST else len(_FIRST)

    return [*COLUMNS, *at_levels, *sources, *sorted(metrics, key=order)]


def _column(name: str) -> Column:
    """Return the column of a name in ``leaderboard.csv``."""
    base, at, level = name.partition("@")
    if base in _BY_NAME or base in _FACTS:
        column = _BY_NAME.get(base) or _FACTS[base]
        return column.at(level) if at else column
    if base.startswith("psnr_"):
        return Column(base.replace("psnr_", "PSNR, ").replace("-", " "), name, "dB", views=("PSNR by source",))
    return Column(name.replace("@", ", σ "), name, digits=3, views=(parse_metric_name(base).name,))


def choose_columns(results: Results, chosen: Sequence[str]) -> list[Column]:
    """Return the columns with the given headings or names in ``leaderboard.csv``, in any case.

    Raises
    ------
    ParameterError
        If there is no such column.
    """
    known = [str(name) for name in results.leaderboard(full=True) if not str(name).endswith(("_low", "_high"))]
    columns = {name: replace(_column(name), name=name) for name in known}
    by_heading = {column.head.lower(): name for name, column in reversed(columns.items())}
    by_heading |= {name.lower(): name for name in known}
    for name, column in columns.items():
        if "@" in name:
            base, level = column.head.split(", σ ")
            by_heading |= {f"{base}@{level}".lower(): name} | ({f"σ {level}": name} if base == "PSNR" else {})
    found = []
    for text in chosen:
        if text.lower() not in by_heading:
            overall = [column.head for name, column in columns.items() if "@" not in name]
            levels = listing(dict.fromkeys(f"PSNR@{name.partition('@')[2]}" for name in known if "@" in name))
            at = f"; at a noise level {levels}, and likewise for other columns" if levels != "none" else ""
            hint = suggestion(text, [*known, *by_heading]) or ";"
            raise ParameterError(f"no column '{text}'{hint} accepted: {listing(overall)}{at}")
        found.append(columns[by_heading[text.lower()]])
    return list(dict.fromkeys(found))
