"""The common style of figures, and their encoding to files: equal figures give equal bytes."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text

from gahbench._util.errors import ParameterError, listing
from gahbench.board.statistics import Array, Interval
from gahbench.report.cells import fold_label

#: Formats by file suffix, with the metadata that is dropped so that equal figures give equal bytes.
FORMATS: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
# 13 markers and 7 colours have no common divisor, so pairs of marker and colour repeat only after 91 entrants.
_MARKERS = "osD^vPX<>pdh*"
_DASHES: dict[str, str] = {"oracle": "--", "optimal": ":", "bound": ":"}
GREY = "0.45"
Styles = dict[str, dict[str, Any]]
#: The "colorblind" palette of seaborn.
PALETTE = (
    "#0173b2",
    "#de8f05",
    "#029e73",
    "#d55e00",
    "#cc78bc",
    "#ca9161",
    "#fbafe4",
    "#949494",
    "#ece133",
    "#56b4e9",
)
#: Six colours of highlighted entrants, dark enough for text on white, and the colour of all other entrants.
HIGHLIGHTS = ("#0066a6", "#b84a00", "#00795c", "#7b3fa0", "#a8005c", "#735a00")
MUTED = "#8a8a8a"
_STYLE: dict[str, Any] = {
    "text.color": "0.15",
    "axes.labelcolor": "0.15",
    "xtick.color": "0.15",
    "ytick.color": "0.15",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.sans-serif": ["Arial", "DejaVu Sans", "Liberation Sans", "Bitstream Vera Sans", "sans-serif"],
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "white",
    "patch.force_edgecolor": True,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "axes.edgecolor": "0.3",
    "axes.grid": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "svg.hashsalt": "gahbench",
    "figure.dpi": 100,
    "savefig.dpi": 200,
}


class ShownFigure(Figure):
    """A figure that notebooks display without pyplot."""

    def _repr_png_(self) -> bytes:
        return encode(self, ".png", dpi=110, bbox_inches="tight", pad_inches=0.06)


def figure_style() -> Any:
    """Return a context with the style of gahbench, which ignores style sheets and settings of the user's session."""
    defaults: Any = matplotlib.rcParamsDefault
    style: dict[str, Any] = {**defaults, **_STYLE}
    # A Figure draws through Agg or SVG, so the backend of the session is left alone.
    settings: Any = {key: style[key] for key in style if not key.startswith("backend")}
    return matplotlib.rc_context(settings)


def entrant_styles(labels: Sequence[str], kinds: Mapping[str, str] | None = None) -> Styles:
    """Return the plot style of each label that has a kind; no two of up to 91 labels share both colour and marker."""
    # Grey is the colour of reference lines, and two other colours are too pale for lines.
    colours = PALETTE[:6] + PALETTE[9:]
    kinds = dict.fromkeys(labels, "classical") if kinds is None else kinds
    return {
        label: {
            "color": colours[index % len(colours)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "linestyle": _DASHES.get(kinds[label], "-"),
            "markerfacecolor": "white" if kinds[label] in _DASHES else colours[index % len(colours)],
        }
        for index, label in enumerate(labels)
        if label in kinds
    }


def highlighted_styles(labels: Sequence[str], kinds: Mapping[str, str], highlights: Sequence[str]) -> Styles:
    """Return plot styles in which up to six highlighted entrants have a colour each, and all others are grey."""
    colours = dict(zip(highlights, HIGHLIGHTS, strict=False))
    styles = entrant_styles(labels, kinds)
    for label, style in styles.items():
        is_optimum = kinds[label] in ("optimal", "bound")
        colour = colours.get(label, "#262626" if is_optimum else MUTED)
        is_filled = style["markerfacecolor"] != "white"
        style |= {"color": colour, "markerfacecolor": colour if is_filled else "white"}
        if colour == MUTED:
            style |= {"linewidth": 0.8, "markersize": 3.2}
    return styles


def is_muted(style: Mapping[str, Any]) -> bool:
    """Return whether a style is that of an entrant that is not highlighted."""
    return bool(style["color"] == MUTED)


def grid_shape(panels: int, max_columns: int) -> tuple[int, int]:
    """Return the number of rows and columns of a grid of panels with at most ``max_columns`` columns."""
    rows = max(1, math.ceil(panels / max_columns))
    return rows, max(1, math.ceil(panels / rows))


def create_panels(
    count: int, shape: tuple[int, int], size: tuple[float, float], figure_class: type[Figure] = Figure, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """Return a new figure of a size in inches with ``count`` panels in a grid, and the axes of the panels."""
    figure = figure_class(figsize=size, layout="constrained")
    axes = list(figure.subplots(*shape, squeeze=False, **shared).flat)
    for ax in axes[count:]:
        ax.set_visible(False)
    return figure, axes[:count]


def write_at_edge(ax: Axes, y: float, text: str, **options: Any) -> None:
    """Write text above a horizontal line, at the right edge of a panel."""
    settings = {"color": GREY, "fontsize": 8, "ha": "right", "va": "bottom", **options}
    ax.text(0.99, y, text, transform=ax.get_yaxis_transform(), **settings)


def fold_caption(caption: str, width: int) -> str:
    """Break each line of a caption into lines of about ``width`` characters."""
    lines = (line.strip() for text in caption.split("\n") for line in fold_label(text, width).split("\n"))
    return "\n".join(lines)


def add_caption(drawing: Figure, caption: str) -> None:
    """Write a caption above all panels, unless it is empty."""
    if caption:
        drawing.suptitle(caption, x=0.005, ha="left", fontsize=9)


def add_legend(drawing: Figure, axes: Sequence[Axes]) -> None:
    """Add one legend to the right of the panels, with the labels of all panels."""
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    drawing.legend(list(handles.values()), list(handles), loc="outside right upper", frameon=False, handlelength=2.8)


def draw_curve(
    ax: Axes,
    x: Array,
    curve: tuple[Array, Array, Array],
    label: str,
    style: dict[str, Any],
    zorder: float = 3,
    gid: str | None = None,
    *,
    has_band: bool = True,
) -> None:
    """Draw a curve with its interval as a band; ``curve`` holds values and lower and upper ends, shaped like ``x``.

    Two points are not joined, and have bars instead of a band: a line would suggest values between them.
    """
    middle, low, high = curve
    is_joined = len(x) != 2
    shown = style if is_joined else {**style, "linestyle": "none"}
    ax.plot(x, middle, label=label, zorder=zorder, gid=gid, **shown)
    if not has_band or not np.isfinite(low).any():
        return
    band = None if gid is None else f"{gid}-band"
    if is_joined:
        ax.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0, zorder=2, gid=band)
    else:
        ax.vlines(x, low, high, color=style["color"], linewidth=1, zorder=2, gid=band)


@dataclass(frozen=True)
class EndLabel:
    """The name of a curve, written in its colour to the right of its last value."""

    text: str
    value: float
    colour: str
    gid: str


_LABEL_SIZE, _LINE_HEIGHT = 8.5, 9.5  # of labels at the ends of curves, in points


def label_ends(ax: Axes, labels: Sequence[EndLabel]) -> None:
    """Write labels to the right of a panel with final limits, each at the height of its value or close to it."""
    known = [label for label in labels if math.isfinite(label.value)]
    if not known:
        return
    figure = ax.get_figure(root=True)
    height = ax.get_position().height * (figure.get_size_inches()[1] if figure is not None else 1.0) * 72
    heights = ax.transLimits.transform([(ax.get_xlim()[1], float(_scaled(ax, label.value))) for label in known])[:, 1]
    order = np.argsort(heights, kind="stable")
    halves = np.array([_LINE_HEIGHT * (known[index].text.count("\n") + 1) / 2 for index in order])
    positions = np.clip(heights[order], 0, 1) * height
    for index in range(1, len(positions)):
        positions[index] = max(positions[index], positions[index - 1] + halves[index - 1] + halves[index])
    # Labels that were moved beyond the top push those below them down.
    limit = height + halves[-1]
    for index in range(len(positions) - 1, -1, -1):
        positions[index] = min(positions[index], limit - halves[index])
        limit = positions[index] - halves[index]
    for position, index in zip(positions, order, strict=True):
        label = known[index]
        ax.text(
            1.02, position / height, label.text, transform=ax.transAxes, ha="left", va="center", linespacing=1.05,
            fontsize=_LABEL_SIZE, color=label.colour, gid=f"{label.gid}-label", parse_math=False,
        )  # fmt: skip


def _scaled(ax: Axes, value: float) -> float:
    """Return a value on the scale of the vertical axis, such as its logarithm."""
    return float(ax.transScale.transform((1.0, value))[1])


def split_intervals(estimates: Sequence[Interval]) -> tuple[Array, Array, Array]:
    """Return the values, the lower and the upper ends of estimates, each of shape (len(estimates),)."""
    middle, low, high = (
        np.array([getattr(estimate, end) for estimate in estimates]) for end in ("value", "low", "high")
    )
    return middle, low, high


def check_suffix(file: Path) -> None:
    """Raise an error if the suffix of a file is not a known format."""
    if file.suffix.lower() not in FORMATS:
        raise ParameterError(f"{file}: unknown suffix '{file.suffix}'; accepted: {listing(FORMATS)}")


def encode(figure: Figure, suffix: str, *, as_text: bool = False, **options: Any) -> bytes:
    """Encode a figure in the format of a suffix; equal figures give equal bytes."""
    buffer = io.BytesIO()
    # Composite images in vector formats would shift pictures by a fraction of a pixel.
    settings: Any = {"image.composite_image": False, "svg.fonttype": "none" if as_text else "path"}
    with figure_style(), matplotlib.rc_context(settings), warnings.catch_warnings():
        if as_text:
            # The reader's fonts draw the text.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        _disable_invalid_formulas(figure)
        figure.savefig(buffer, format=suffix.lstrip("."), metadata=FORMATS[suffix], **options)
    return buffer.getvalue()


def _disable_invalid_formulas(figure: Figure) -> None:
    """Draw texts with dollar signs that are not valid formulas as plain text."""
    parser = MathTextParser("path")
    for text in figure.findobj(Text):
        if isinstance(text, Text) and "$" in text.get_text():
            try:
                for line in text.get_text().split("\n"):
                    parser.parse(line)
            except ValueError:
                text.set_parse_math(False)
