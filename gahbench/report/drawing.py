"""The two forms of figures, dots with intervals and curves with bands, their style, and their encoding to files.

Frames have a row for each value, with its interval in the columns ``low`` and ``high``, which are drawn as they are.
Panels, rows and labels are in the order of their categories, or in that of the frame. Equal figures give equal bytes.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import seaborn as sns
import seaborn.objects as so
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gahbench._util.errors import ParameterError, listing
from gahbench._util.files import write_output
from gahbench._util.readable import pluralize
from gahbench.report.cells import fold_label

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
GREY, PALE, DARK = "0.45", "0.78", "0.15"
_CHARACTER = 0.06  # inches, the mean width
_LABEL_WIDTH, _LEGEND_WIDTH = 34, 36  # characters of a line of a label
_STYLE: dict[str, Any] = {
    # The fonts of matplotlib come first, so that layouts do not depend on the machine.
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "figure.labelsize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7.5),
    **dict.fromkeys(("xtick.major.pad", "ytick.major.pad"), 3),
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.linewidth": 0.8,
    "axes.titlelocation": "left",
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.6,
    "legend.frameon": False,
    "text.parse_math": False,
    "image.composite_image": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "gahbench",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


class ShownFigure(Figure):
    """A figure that notebooks display without pyplot."""

    def _repr_png_(self) -> bytes:
        return encode(self, ".png", dpi=130)


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """Draw in the style of gahbench, regardless of style sheets and settings of the user's session."""
    settings: Any = {key: value for key, value in _style().items() if not key.startswith("backend")}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # seaborn 0.13 under pandas 3.
        warnings.filterwarnings("ignore", message="The copy keyword is deprecated")
        # The reader's fonts draw the text of an SVG.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _style() -> dict[str, Any]:
    defaults: Any = matplotlib.rcParamsDefault
    return {**defaults, **sns.axes_style("whitegrid"), **sns.plotting_context("paper"), **_STYLE}


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
    panels, rows, marks = (order_of(frame[name]) for name in ("panel", "row", "mark"))
    labels = {row: fold_label(row, min(_LABEL_WIDTH, int(0.24 * width))) for row in rows}
    # Rows have equal heights.
    pitch = max(0.03 + 0.13 * max(label.count("\n") + 1 for label in labels.values()), 0.06 + 0.075 * len(marks))
    inches, names = width / 25.4, _CHARACTER * _longest(labels.values())
    columns = grid_columns(len(panels), int((inches - names) / 0.85))
    grid_rows = math.ceil(len(panels) / columns)
    panel_characters = int((inches - names) / columns / _CHARACTER)
    height = grid_rows * (0.4 + pitch * len(rows)) + 0.5 + 0.12 * len(marks)
    with figure_style():
        figure = ShownFigure(figsize=(inches, height), layout="constrained")
        (
            so.Plot(frame.assign(row=frame["row"].map(labels)), x="value", y="row", color="mark", marker="mark")
            .facet("panel", order=panels, wrap=columns)
            .add(so.Range(linewidth=1.1), so.Dodge(by=["color"]), legend=False, xmin="low", xmax="high")
            .add(so.Dot(pointsize=4, edgewidth=0), so.Dodge(by=["color"]), legend=False)
            .scale(
                color=so.Nominal(list(COLOURS[: len(marks)]), order=marks),
                marker=so.Nominal(list(MARKERS[: len(marks)]), order=marks),
                y=so.Nominal(order=list(labels.values())),
            )
            .share(x=False)
            .label(x="", y="", title=lambda panel: fold_label(str(panel), panel_characters))
            .theme(_style())
            .on(figure)
            .plot()
        )
        italic = {labels[row] for row in references if row in labels}
        for ax in figure.axes:
            ax.margins(x=0.06)
            ax.locator_params(axis="x", nbins=4)
            if zero:
                ax.axvline(0, color=GREY, linewidth=0.9, zorder=0.9)
            for text in ax.get_yticklabels():
                if text.get_text() in italic:
                    text.set(color=GREY, style="italic")
        _label(figure, x_label)
        if len(marks) > 1:
            handles = [
                Line2D([], [], color=colour, marker=marker, label=mark)
                for mark, colour, marker in zip(marks, COLOURS, MARKERS, strict=False)
            ]
            add_legend(figure, handles)
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
    has_markers: bool = True,
    share_y: bool = False,
) -> Figure:
    """Draw curves with their intervals as bands: a panel for each ``panel``, a curve for each ``label`` and ``group``.

    As many labels as there are colours have one; the other curves are pale, and have one entry of the legend.

    Parameters
    ----------
    frame
        Columns ``panel``, ``label``, ``x``, ``value``, ``low`` and ``high``; curves of one label may differ in
        ``group``.
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
    has_markers
        Whether to mark the points.
    share_y
        Whether panels share the vertical axis.
    """
    if "group" not in frame:
        frame = frame.assign(group="")
    panels = order_of(frame["panel"])
    looks = _looks(order_of(frame["label"]), references, colours, has_markers)
    others = [label for label, look in looks.items() if look["color"] == PALE]
    entries = {label: look for label, look in looks.items() if label not in others}
    entries |= {pluralize(len(others), "other"): {"color": PALE}} if others else {}
    inches, columns = width / 25.4, grid_columns(len(panels), int(width / 25.4 / 1.6))
    characters = int((inches / columns - 0.35) / _CHARACTER)
    panel_height = min(2.1, 1.6 + 0.5 / columns) if len(panels) <= 9 else 1.35
    legend_height = 0.16 * math.ceil(len(entries) / _legend_columns(list(entries), inches)) + 0.1
    height = math.ceil(len(panels) / columns) * panel_height + 0.3 + legend_height
    with figure_style():
        figure = ShownFigure(figsize=(inches, height), layout="constrained")
        plot = so.Plot(frame, x="x", y="value").facet("panel", order=panels, wrap=columns).share(y=share_y)
        for label in [*others, *(label for label in looks if label not in others)]:
            rows, line = frame[frame["label"] == label], so.Line(**looks[label])
            banded = rows[rows["low"].notna()]
            if label not in others and len(banded):
                band = so.Band(alpha=0.15, color=looks[label]["color"])
                plot = plot.add(band, data=banded, group="group", ymin="low", ymax="high", legend=False)
            plot = plot.add(line, data=rows, group="group", legend=False)
        plot = plot.label(x="", y="", title=lambda panel: fold_label(str(panel), characters))
        plot.theme(_style()).on(figure).plot()
        for ax in figure.axes:
            for axis in log:
                set_log(ax, axis)
        _label(figure, x_label, y_label)
        add_legend(figure, [Line2D([], [], label=label, **look) for label, look in entries.items()])
    return figure


def _looks(
    labels: Sequence[str], references: Collection[str], colours: Sequence[Any], has_markers: bool
) -> dict[str, dict[str, Any]]:
    """Return the look of the curve of each label; labels beyond the number of colours are pale."""
    markers = MARKERS if has_markers else [""]
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


def _label(figure: Figure, x_label: str, y_label: str = "") -> None:
    """Write the labels of the axes that all panels share."""
    width, height = (int(inches / _CHARACTER) for inches in figure.get_size_inches())
    figure.supxlabel(fold_label(x_label, width))
    figure.supylabel(fold_label(y_label, height - 6))


def set_log(ax: Axes, axis: str) -> None:
    """Make an axis of a panel logarithmic, with a few round ticks and plain numbers."""
    getattr(ax, f"set_{axis}scale")("log")
    low, high = getattr(ax, f"get_{axis}lim")()
    ticks = ax.xaxis if axis == "x" else ax.yaxis
    subs = (1.0,) if high > 70 * low else (1.0, 3.0) if high > 12 * low else (1.0, 2.0, 5.0)
    ticks.set_major_locator(LogLocator(subs=subs, numticks=6) if high > 4 * low else MaxNLocator(3))
    ticks.set_major_formatter(FuncFormatter(lambda value, _: _tick_text(value)))
    ticks.set_minor_locator(NullLocator())


def _tick_text(value: float) -> str:
    """Return a number as plain text, such as ``0.03``, ``20 k`` or ``10⁻⁵``; mathematical text needs other fonts."""
    for unit, factor in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if factor * 0.999 <= value < factor * 1e3:
            return f"{value / factor:.3g}{unit}"
    if not 0 < value < 1e-4:
        return f"{value:.3g}"
    exponent = math.floor(math.log10(value) + 1e-9)
    digits = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    mantissa = value / 10.0**exponent
    return f"10{digits}" if abs(mantissa - 1) < 1e-9 else f"{mantissa:.3g}·10{digits}"


def grid_columns(panels: int, most: int) -> int:
    """Return the number of columns of a grid of panels, at most ``most``, whose rows are equally full if possible."""
    rows = math.ceil(panels / max(1, most))
    return max(1, math.ceil(panels / max(1, rows)))


def create_panels(
    count: int, shape: tuple[int, int], size: tuple[float, float], **shared: Any
) -> tuple[Figure, list[Axes]]:
    """Return a new figure of a size in inches with ``count`` panels in a grid, and the axes of the panels."""
    figure = ShownFigure(figsize=size, layout="constrained")
    axes = list(figure.subplots(*shape, squeeze=False, **shared).flat)
    for ax in axes[count:]:
        ax.remove()
    return figure, axes[:count]


def add_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Add a legend above all panels, in as many columns as fit."""
    for handle in handles:
        handle.set_label(fold_label(str(handle.get_label()), _LEGEND_WIDTH))
    columns = _legend_columns([str(handle.get_label()) for handle in handles], figure.get_figwidth())
    figure.legend(handles=list(handles), loc="outside upper center", ncols=columns, handlelength=2.2, columnspacing=1.2)


def _legend_columns(labels: Sequence[str], inches: float) -> int:
    fitting = int(inches / (_CHARACTER * min(_LEGEND_WIDTH, _longest(labels)) + 0.5))
    return max(1, min(len(labels), fitting))


def _longest(labels: Iterable[str]) -> int:
    return max((len(line) for label in labels for line in label.split("\n")), default=1)


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
