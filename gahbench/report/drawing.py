"""The forms of figures, dots with intervals, curves with bands and tables of values, their style, and their encoding.

Frames have a row for each value, with its interval in the columns ``low`` and ``high``, which are drawn as they are.
Panels, rows and labels are in the order of their categories, or in that of the frame. Equal figures give equal bytes.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import math
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib
import pandas as pd
import seaborn as sns
import seaborn.objects as so
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from gahbench._util.errors import ParameterError, ResultsError, listing
from gahbench._util.files import write_output
from gahbench._util.readable import pluralize
from gahbench.report.cells import fold_label, number

#: Formats by file suffix, with the metadata that is dropped so that equal figures give equal bytes.
FORMATS: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
#: The width of a page of text in millimetres; a column is 85 wide.
WIDTH = 180.0
PALETTE: tuple[str, ...] = tuple(sns.color_palette("colorblind").as_hex())
# Grey is the colour of reference lines and of other entrants, and two colours are too pale for lines.
COLOURS = PALETTE[:6] + PALETTE[9:]
MARKERS = "osD^vXP"
GREY, PALE, DARK, _WHITE = "0.45", "0.78", "0.15", "#f7f7f7"
_CHARACTER = 0.06  # inches, the mean width
_CELL = 0.3  # inches, the smallest width of a cell of a table
_MARKED = 20  # points of curves, of which more have no markers
_LEGEND_WIDTH = 36  # characters of a line of a label
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_STYLE: Any = {
    **{key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")},
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("paper"),
    # The fonts of matplotlib come first, so that layouts do not depend on the machine.
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "figure.labelsize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7.5),
    **dict.fromkeys(("axes.spines.left", "axes.spines.right", "axes.spines.top", "legend.frameon"), False),
    "axes.linewidth": 0.8,
    "axes.titlelocation": "left",
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.markersize": 3.6,
    "text.parse_math": False,
    "image.composite_image": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "gahbench",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}
#: Labels of datasets or of entrants.
Labels: TypeAlias = Sequence[str]


class ShownFigure(Figure):
    """A figure that notebooks display without pyplot."""

    def _repr_png_(self) -> bytes:
        return encode(self, ".png", dpi=130)


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """Draw in the style of gahbench, regardless of style sheets and settings of the user's session."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # seaborn 0.13 under pandas 3.
        warnings.filterwarnings("ignore", message="The copy keyword is deprecated")
        # The reader's fonts draw the text of an SVG.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def draw_dots(
    frame: pd.DataFrame, x_label: str, *, width: float = WIDTH, references: Collection[str] = (), zero: bool = True
) -> Figure:
    """Draw values and their intervals: a panel for each ``panel``, a line for each ``row``, a colour for each ``mark``.

    Parameters
    ----------
    frame
        Columns ``panel``, ``row``, ``mark``, ``value``, ``low`` and ``high``.
    x_label
        The quantity and its unit.
    width
        Width of the figure in millimetres; narrow figures have fewer panels side by side.
    references
        Rows whose names are in grey italics.
    zero
        Whether to draw a line at 0.
    """
    rows, looks = _fold_rows(frame["row"], width), looks_of(order_of(frame["mark"]))
    # Rows have equal heights.
    pitch = max(0.03 + 0.13 * max(text.count("\n") + 1 for text in rows.values()), 0.06 + 0.075 * len(looks))
    frame = frame.assign(row=frame["row"].map(rows)).reset_index(drop=True)
    plot = (
        so.Plot(frame, x="value", y="row", color="mark", marker="mark")
        .add(so.Range(linewidth=1.1), so.Dodge(by=["color"]), legend=False, xmin="low", xmax="high")
        .add(so.Dot(pointsize=4, edgewidth=0), so.Dodge(by=["color"]), legend=False)
        .scale(y=so.Nominal(order=list(rows.values())))
        .share(x=False)
    )
    panel, left = (0.85, 0.4 + pitch * len(rows)), _text_inches(rows.values())
    figure = draw_panels(plot, frame["panel"], looks, x_label, width=width, panel=panel, left=left)
    italic = {rows[row] for row in references if row in rows}
    for ax in figure.axes:
        ax.margins(x=0.06)
        ax.locator_params(axis="x", nbins=3)
        if zero:
            ax.axvline(0, color=GREY, linewidth=0.9, zorder=0.9)
        for text in ax.get_yticklabels():
            if text.get_text() in italic:
                text.set(color=GREY, style="italic")
    return figure


def draw_curves(
    frame: pd.DataFrame,
    x_label: str,
    y_label: str,
    *,
    width: float = WIDTH,
    references: Collection[str] = (),
    log: str = "x",
    colours: Sequence[Any] = COLOURS,
    share_y: bool = False,
) -> Figure:
    """Draw curves with their intervals as bands: a panel for each ``panel``, a curve for each ``label`` and ``group``.

    As many labels as there are colours have one; the other curves are pale, and have one entry of the legend.

    Parameters
    ----------
    frame
        Columns ``panel``, ``label``, ``x`` and ``value``; with bands, ``low`` and ``high``; curves of one label may
        differ in ``group``.
    x_label, y_label
        The quantities and their units.
    width
        Width of the figure in millimetres; narrow figures have fewer panels side by side.
    references
        Labels whose curves are dark and dashed.
    log
        The logarithmic axes: "x", "y", "xy" or empty.
    colours
        The colours of labels, in order.
    share_y
        Whether panels share the vertical axis.
    """
    frame = frame.reset_index(drop=True)
    markers = MARKERS if frame["x"].nunique() <= _MARKED else [""]
    looks = looks_of(order_of(frame["label"]), references, colours, markers)
    groups = {"group": "group"} if "group" in frame else {}
    plot = so.Plot(frame, x="x", y="value").share(y=share_y)
    # Pale curves are behind the others, and have no bands.
    for label, look in sorted(looks.items(), key=lambda item: item[1]["color"] != PALE):
        rows = frame[frame["label"] == label]
        if look["color"] != PALE and "low" in frame and rows["low"].notna().any():
            band = so.Band(alpha=0.15, color=look["color"])
            plot = plot.add(band, data=rows, ymin="low", ymax="high", legend=False, **groups)
        plot = plot.add(so.Line(**look), data=rows, legend=False, **groups)
    height = 1.85 if frame["panel"].nunique() <= 9 else 1.35
    figure = draw_panels(plot, frame["panel"], looks, x_label, y_label, width=width, panel=(1.6, height))
    for ax, axis in itertools.product(figure.axes, log):
        set_log(ax, axis)
    return figure


def draw_matrices(
    frame: pd.DataFrame, label: str, *, width: float = WIDTH, digits: int = 2, limit: float | None = None
) -> Figure:
    """Draw tables of values as colours with the value in each cell: blue above 0, orange below, grey where undecided.

    Parameters
    ----------
    frame
        Columns ``panel``, ``row``, ``column`` (in the order of its categories), ``value``, ``low`` and ``high``.
    label
        The quantity and its unit.
    width
        Width of the figure in millimetres; narrow figures have fewer tables side by side.
    digits
        Decimals of values.
    limit
        The value of the strongest colour; by default one that most values are below.
    """
    rows, heads = _fold_rows(frame["row"], width), {head: fold_label(head, 24) for head in order_of(frame["column"])}
    panels = list(frame.groupby("panel", sort=False))
    space = width / 25.4 - _text_inches(rows.values()) - 0.1
    most = max(cells["column"].nunique() for _, cells in panels)
    columns = grid_columns(len(panels), int(space / _CELL / most))
    cell = space / columns / most
    is_turned = _text_inches(heads.values()) > cell
    lines = "\n".join(rows.values()).count("\n") + 1
    height = 0.18 * lines + (_text_inches(heads.values()) if is_turned else 0.3) + 0.4
    end = limit or max(1e-9, float(frame["value"].abs().quantile(0.95)))
    shades, font = sns.blend_palette([PALETTE[1], _WHITE, PALETTE[0]], as_cmap=True), {"fontsize": min(7, 20 * cell)}
    heat_map = functools.partial(sns.heatmap, vmin=-end, vmax=end, fmt="", cbar=False, linewidths=1, yticklabels=True)
    with figure_style():
        size = (math.ceil(len(panels) / columns), columns)
        figure = ShownFigure(figsize=(width / 25.4, size[0] * height + 0.2), layout="constrained")
        axes = list(figure.subplots(*size, squeeze=False, sharey=True).flat)
        for ax in axes[len(panels) :]:
            ax.remove()
        for ax, (title, cells) in zip(axes, panels, strict=False):
            tables = (cells.pivot(index="row", columns="column", values=end) for end in ("value", "low", "high"))
            shown = [head for head in heads if (cells["column"] == head).any()]
            tables = (table.loc[:, shown].reindex(list(rows)).rename(index=rows, columns=heads) for table in tables)
            values, low, high = tables
            texts, decided = values.map(number, digits=digits), (low > 0) | (high < 0)
            heat_map(values, annot=texts, mask=~decided, cmap=shades, annot_kws=font, ax=ax)
            grey, unknown = font | {"color": GREY}, values.isna()
            heat_map(values, annot=texts, mask=decided | unknown, cmap=[_WHITE], annot_kws=grey, ax=ax)
            ax.set(xlabel="", ylabel="", title=fold_label(str(title), int(cell * most / _CHARACTER)))
            ax.tick_params(axis="x", rotation=90 if is_turned else 0)
            ax.tick_params(axis="y", rotation=0)
            ax.grid(visible=False)
        figure.supxlabel(label)
    return figure


def draw_panels(
    plot: so.Plot,
    column: pd.Series[Any],
    looks: Mapping[str, Mapping[str, Any]],
    x_label: str,
    y_label: str = "",
    *,
    width: float,
    panel: tuple[float, float],
    left: float = 0.0,
) -> Figure:
    """Draw a plot with a panel for each value of its column ``panel``, below a legend of the looks of labels.

    ``panel`` is the smallest width and the height of a panel, ``left`` the width of the names of rows, in inches.
    """
    panels, inches = order_of(column), width / 25.4
    if not panels:
        raise ResultsError("no values to draw for these datasets and entrants; choose others, or fewer patterns")
    columns = grid_columns(len(panels), int((inches - left) / panel[0]))
    characters = int(((inches - left) / columns - (0.1 if left else 0.45)) / _CHARACTER)
    others = [label for label, look in looks.items() if look["color"] == PALE]
    entries = {fold_label(label, _LEGEND_WIDTH): look for label, look in looks.items() if label and label not in others}
    entries |= {pluralize(len(others), "other"): looks[label] for label in others[:1]}
    across = max(1, min(len(entries), int(inches / (_text_inches(entries) + 0.5))))
    height = math.ceil(len(panels) / columns) * panel[1] + 0.4 + 0.16 * math.ceil(len(entries) / across)
    scales = {key: so.Nominal({label: look[key] for label, look in looks.items()}) for key in ("color", "marker")}
    with figure_style():
        figure = ShownFigure(figsize=(inches, height), layout="constrained")
        plot = plot.facet("panel", order=panels, wrap=columns).scale(**scales)
        plot = plot.label(x="", y="", title=lambda panel: fold_label(str(panel), characters))
        plot.theme(_STYLE).on(figure).plot()
        figure.supxlabel(fold_label(x_label, int(inches / _CHARACTER)))
        figure.supylabel(fold_label(y_label, int(height / _CHARACTER) - 6))
        handles = [Line2D([], [], label=label, **look) for label, look in entries.items()]
        if handles:
            figure.legend(handles=handles, loc="outside upper center", ncols=across, columnspacing=1.2)
    return figure


def looks_of(
    labels: Labels, references: Collection[str] = (), colours: Sequence[Any] = COLOURS, markers: Labels = MARKERS
) -> dict[str, dict[str, Any]]:
    """Return the look of each label: references are dashed, and labels beyond the number of colours are pale."""
    coloured = iter(zip(colours, itertools.cycle(markers), strict=False))
    looks: dict[str, dict[str, Any]] = {}
    for label in labels:
        if label in references:
            looks[label] = {"color": DARK, "linestyle": "--", "marker": "", "linewidth": 1.0}
        else:
            colour, marker = next(coloured, (PALE, ""))
            looks[label] = {"color": colour, "linestyle": "-", "marker": marker, "linewidth": 1.2 if marker else 0.9}
    return looks


def order_of(column: pd.Series[Any]) -> list[str]:
    """Return the values of a column: its categories, or else in the order in which they appear."""
    return list(column.cat.categories) if hasattr(column, "cat") else list(dict.fromkeys(column))


def _fold_rows(column: pd.Series[Any], width: float) -> dict[str, str]:
    """Return the names of rows, each with its lines in a figure of a width in millimetres."""
    return {name: fold_label(name, min(34, int(0.24 * width))) for name in order_of(column)}


def _text_inches(labels: Iterable[str]) -> float:
    """Return the width of the longest line of labels in inches, by the mean width of a character."""
    return _CHARACTER * max((len(line) for label in labels for line in label.split("\n")), default=1)


def grid_columns(panels: int, most: int) -> int:
    """Return the number of columns of a grid of panels, at most ``most``, whose rows are equally full if possible."""
    return math.ceil(panels / math.ceil(panels / max(1, most)))


def set_log(ax: Axes, axis: str) -> None:
    """Make an axis of a panel logarithmic, with a few round ticks and plain numbers."""
    getattr(ax, f"set_{axis}scale")("log")
    ticks = getattr(ax, f"{axis}axis")
    low, high = ticks.get_view_interval()
    subs = (1.0,) if high > 70 * low else (1.0, 3.0) if high > 12 * low else (1.0, 2.0, 5.0)
    ticks.set_major_locator(LogLocator(subs=subs, numticks=6) if high > 4 * low else MaxNLocator(3))
    ticks.set_major_formatter(_tick_text)
    ticks.set_minor_locator(NullLocator())


def _tick_text(value: float, _: int | None = None) -> str:
    """Return a number as plain text, such as ``0.03``, ``20 k`` or ``10⁻⁵``; mathematical text needs other fonts."""
    if value == 0 or abs(value) >= 1e-4:
        return EngFormatter()(value) if abs(value) >= 1000 else f"{value:.3g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}".removeprefix("1·")


def check_suffix(file: Path) -> None:
    """Raise an error if the suffix of a file is not a known format."""
    if file.suffix.lower() not in FORMATS:
        raise ParameterError(f"{file}: unknown suffix '{file.suffix}'; accepted: {listing(FORMATS)}")


def encode(figure: Figure, suffix: str, **options: Any) -> bytes:
    """Encode a figure in the format of a suffix; equal figures give equal bytes, and text in an SVG stays text."""
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(buffer, format=suffix.lstrip("."), metadata=FORMATS[suffix], **options)
    return buffer.getvalue()


def encode_pages(figures: Iterable[Figure]) -> bytes:
    """Encode figures as the pages of a PDF; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with figure_style(), PdfPages(buffer, metadata=FORMATS[".pdf"]) as pages:
        for figure in figures:
            figure.savefig(pages, format="pdf", bbox_inches="tight")
    return buffer.getvalue()


def save_figure(figure: Figure, file: Path) -> None:
    """Write a figure as ``.png``, ``.svg`` or ``.pdf``; equal figures give equal bytes."""
    check_suffix(file)
    write_output(encode(figure, file.suffix.lower()), file)
