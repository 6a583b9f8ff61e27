"""Columns of boards: each is one line here, and appears in the terminal, Markdown, HTML, LaTeX, CSV and the legend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from gahbench._util.errors import ParameterError, listing, suggestion
from gahbench._util.readable import format_duration, format_number
from gahbench.board.display_names import DisplayNames
from gahbench.board.estimates import CLASHING, RESERVED, SOURCE
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.results import Results
from gahbench.board.statistics import Interval
from gahbench.board.tables import SUFFIXES
from gahbench.registry.spec import format_value
from gahbench.report import cells

#: The view that Markdown shows and that pages show first; other views are shown on request.
SUMMARY = "summary"
_COST = "cost"


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, its sort key on pages if the text does not begin with it, its colour.

    ``step`` is the signed step of the colour of a gain, 0 without a colour.
    """

    text: str
    key: str = ""
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
    signed
        Whether positive values have a sign.
    digits
        The number of decimals.
    views
        The names of the tables that show the column; a column without views is shown only if it is chosen.
    meaning
        The definition, for the legend and for tooltips.
    form
        The function that formats a value without an interval; ``None`` for values with intervals.
    """

    head: str
    name: str = ""
    signed: bool = False
    digits: int = 2
    views: tuple[str, ...] = (SUMMARY,)
    meaning: str = ""
    form: Callable[[Any], str] | None = None

    @property
    def is_text(self) -> bool:
        """Whether the column holds text, which is aligned to the left."""
        return self.form is str

    def cell(self, row: Mapping[Any, Any], names: DisplayNames) -> Cell:
        """Return the cell of a row of ``leaderboard.csv``."""
        value = row[self.name]
        if self.name == "entrant":
            return Cell(names.entrant(str(value)))
        if self.name == "rank":
            low, high = (None if pd.isna(row[name]) else int(row[name]) for name in ("rank", "rank_high"))
            return Cell(cells.rank(low, high, row["note"].startswith("flagged: ")))
        if self.form is not None:
            if pd.isna(value) or value == "":
                return Cell(cells.DASH)
            return Cell(self.form(value), "" if isinstance(value, str) else f"{value:g}")
        base, at, level = self.name.partition("@")
        lower = Interval(row.get(f"{base}_min{at}{level}", math.nan))
        if lower.is_known:
            return Cell(cells.between(lower, self.interval(row), self.digits))
        return Cell(cells.format_interval(self.interval(row), self.signed, self.digits))

    def interval(self, row: Mapping[Any, Any]) -> Interval:
        """Return the value of a row with the ends of its interval."""
        return Interval(*(row.get(f"{self.name}{end}", math.nan) for end in SUFFIXES))


_RANK = (
    "By mean PSNR, 1 + the number of entrants that are better; 2–4 is the interval of a rank. Ranks are 95 % "
    "simultaneous intervals from paired differences. Oracles, which see the clean image, optimal denoisers, which know "
    "the distribution, and entrants without an interval have no rank (–). Networks whose spread over training runs is "
    "unknown are not compared with each other. !: flagged, as the note says."
)
_PSNR = (
    "−10·log10 of the mean squared error of an image in [0, 1], in dB; the mean over test images, training seeds and, "
    "unless a level is named, noise levels. Noisy images have −20·log10 σ dB."
)
_VALIDATION = "The PSNR on validation images, by which settings may be chosen without a look at test images."
_DEFICIT = (
    "The distance from the optimum: the ratio of the mean squared error to that of the optimum, in dB. If only a bound "
    "is known, it has two limits: relative to the best denoiser of the board, and to the bound."
)
_KL = (
    "A bound on the Kullback-Leibler divergence of the density that a denoiser models from the true one, in nats per "
    "pixel and channel, integrated over the noise levels of the suite. If only a bound is known, the upper limit is a "
    "looser bound on the divergence, and the lower limit is not a bound."
)
_SLOPE = (
    "Output dB per input dB, fitted over all σ. The optimal slope, α/(α+1) for C^α images, is the limit for σ → 0, "
    "which slopes over stronger noise cannot test."
)
_SECONDS = (
    "The seconds that denoising a megapixel takes: the fastest of several batches on the machine that leaderboard.csv "
    "names. Oracles and optimal denoisers are not timed."
)
_GAIN = "The difference in PSNR from the baseline, paired by image and noise, in dB."
_MACS = "Of one forward pass, in convolutions and matrix products, divided by the number of pixels."
_IMAGES = "The number of noisy images that a network saw in training, with repetitions."
_PRECISION = "In which networks were trained: float32, or bfloat16 with weights in float32. Scores are in float32."
#: The columns of every board, in their order; metrics of plugins follow (:func:`board_columns`).
COLUMNS = (
    Column("rank", "rank", meaning=_RANK),
    Column("entrant", "entrant", form=str),
    Column("kind", "kind", form=str, meaning="Trained, classical, oracle, optimal, or bound."),
    Column("PSNR", "psnr", meaning=_PSNR),
    Column("validation", "psnr_validation", meaning=_VALIDATION),
    Column("gain", "gain_over_baseline", signed=True, meaning=_GAIN),
    Column("deficit", "deficit", meaning=_DEFICIT),
    Column("KL", "kl", digits=3, views=("slope and KL",), meaning=_KL),
    Column("slope", "slope", views=(SUMMARY, "slope and KL"), meaning=_SLOPE),
    Column("params", "parameters", form=format_number, views=(SUMMARY, _COST), meaning="The number of trained values."),
    Column("s/Mpx", "seconds_per_megapixel", form=cells.seconds, views=(SUMMARY, _COST), meaning=_SECONDS),
    Column("multiply-adds per pixel", "multiply_adds_per_pixel", form=format_number, views=(_COST,), meaning=_MACS),
    Column("training images", "training_images", form=format_number, views=(_COST,), meaning=_IMAGES),
    Column("training", "train_seconds", form=format_duration, meaning="The mean time that training a network took."),
    Column("precision", "precision", form=str, views=(_COST,), meaning=_PRECISION),
    Column("seeds", "seeds", form=lambda seeds: f"{seeds}", views=(_COST,), meaning="The number of training runs."),
)
#: The quantities that boards show at each noise level.
_AT_LEVELS = ("psnr", "gain_over_baseline", "deficit")
#: Facts that are shown only if they are asked for.
_FACTS = (
    *(Column(name, name, views=(), form=str) for name in ("suite", "dataset", "optimum", "measured_on", "note")),
    Column("optimal slope", "optimal_slope", views=(), form=cells.number),
    Column("gain over noisy", "gain_over_noisy", signed=True, views=()),
)
BY_NAME = {column.name: column for column in (*COLUMNS, *_FACTS)}
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
        is_shown = [view in column.views or column.name == "entrant" for column in self.columns]
        table = self.choose([index for index, is_chosen in enumerate(is_shown) if is_chosen])
        known = [row for row in table.rows if view == SUMMARY or any(cell.text != cells.DASH for cell in row[1:])]
        return replace(table, rows=known)

    def choose(self, indices: Sequence[int]) -> Table:
        """Return the columns with the given indices."""
        rows = [[row[index] for index in indices] for row in self.rows]
        return Table(self.title, [self.columns[index] for index in indices], rows)

    def with_values(self) -> Table:
        """Return the columns that have values."""
        known = [any(row[index].text != cells.DASH for row in self.rows) for index in range(len(self.columns))]
        return self.choose([index for index, is_known in enumerate(known) if is_known])


def table_of_board(title: str, columns: Sequence[Column], board: pd.DataFrame, names: DisplayNames) -> Table:
    """Return columns of rows of ``leaderboard.csv``, with the display names of entrants."""
    return Table(title, columns, [[column.cell(row, names) for column in columns] for row in board.to_dict("records")])


def table_of_rows(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], texts: int) -> Table:
    """Return a table of the given rows, whose first ``texts`` columns are aligned to the left."""
    columns = [Column(head, form=str if index < texts else None) for index, head in enumerate(heads)]
    return Table(title, columns, [[Cell(text) for text in row] for row in rows])


def board_columns(results: Results, wide: pd.DataFrame) -> list[Column]:
    """Return a column for each value in ``leaderboard.csv``: those of every board, at noise levels, sources, metrics.

    A metric has the title that its plugin states as its meaning.
    """
    titles = dict(zip(map(str, results.metrics["metric"]), map(str, results.metrics["title"]), strict=True))
    names = [name for name in map(str, wide.columns) if not name.endswith(("_low", "_high"))]
    settings = {*results.parameters["parameter"]}
    has_levels = sum(name.startswith("psnr@") for name in names) > 1

    def column(name: str) -> Column:
        base, _, level = name.partition("@")
        if base in BY_NAME:
            known = BY_NAME[base]
            views = (f"{known.head} by σ",) if has_levels and base in _AT_LEVELS else ()
            return replace(known, head=f"{known.head}, σ {level}", name=name, views=views) if level else known
        if base.startswith(f"psnr_{SOURCE}"):
            return Column(base.replace("psnr_", "PSNR, ").replace("-", " "), name, views=("PSNR by source",))
        if name in settings:
            return Column(name.partition(".")[2].replace("_", " "), name, views=("parameters",), form=format_value)
        family = () if level or base in RESERVED else (parse_metric_name(base).name,)
        meaning = titles.get(base.removeprefix(CLASHING), "")
        return Column(name.replace("@", ", σ "), name, digits=3, views=family, meaning=meaning)

    def order(column: Column) -> tuple[int, int]:
        base, _, level = column.name.partition("@")
        if base in BY_NAME:
            return (1 if level else 0), list(BY_NAME).index(base)
        family = "".join(column.views[:1])
        return 2, -1 if base.startswith("psnr_") else _FIRST.index(family) if family in _FIRST else len(_FIRST)

    return sorted(map(column, names), key=order)


def choose_columns(columns: Sequence[Column], chosen: Sequence[str]) -> list[Column]:
    """Return the columns with the given names in ``leaderboard.csv`` or headings, such as ``PSNR@0.1``, in any case.

    Raises
    ------
    ParameterError
        If there is no such column.
    """
    heads = {column.head.lower(): column for column in reversed(columns)}
    accepted = {head.replace(", σ ", "@"): column for head, column in heads.items()} | heads
    accepted |= {column.name.lower(): column for column in columns}
    for text in chosen:
        if text.lower() not in accepted:
            names = [column.head for column in columns if "@" not in column.name]
            levels = [name for name in accepted if name.startswith("psnr@")]
            at = f"; at a noise level {listing(levels)}, and likewise for other columns" if levels else ""
            hint = suggestion(text, accepted) or ";"
            raise ParameterError(f"no column '{text}'{hint} accepted: {listing(names)}{at}")
    return list(dict.fromkeys(accepted[text.lower()] for text in chosen))
