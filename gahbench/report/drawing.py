"""The look of figures, and their files: equal figures give equal bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
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
from gahbench.report.cells import folded

#: Formats by file suffix, with the entries that would make equal figures differ in their bytes.
FORMATS: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
# 13 markers and 7 colours have no common divisor: pairs of both repeat after 91 entrants.
_MARKERS = "osD^vPX<>pdh*"
_DASHES: dict[str, str] = {"oracle": "--", "optimal": ":", "bound": ":"}
GREY = "0.45"
Styles = dict[str, dict[str, Any]]
#: Colours that the colour-blind distinguish: the "colorblind" palette of seaborn.
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
    """A figure that a notebook shows where a cell ends with it, whether or not pyplot was imported."""

    def _repr_png_(self) -> bytes:
        return encode(self, ".png", dpi=110, bbox_inches="tight", pad_inches=0.06)


def context() -> Any:
    """Return a context with our look: style sheets and settings of the user's session play no part."""
    defaults: Any = matplotlib.rcParamsDefault
    style: dict[str, Any] = {**defaults, **_STYLE}
    # A Figure draws through Agg and SVG, whatever shows the windows of the session.
    settings: Any = {key: style[key] for key in style if not key.startswith("backend")}
    return matplotlib.rc_context(settings)


def looks(labels: Sequence[str], kinds: Mapping[str, str] | None = None) -> Styles:
    """Return how to draw each label that has a kind: no two have both the same colour and the same marker."""
    colours = PALETTE[:6] + PALETTE[9:]  # without the grey of reference lines, and colours too pale for lines
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


def grid_shape(panels: int, abreast: int) -> tuple[int, int]:
    """Return the numbers of rows and columns of panels, given the maximum of columns."""
    rows = max(1, math.ceil(panels / abreast))
    return rows, max(1, math.ceil(panels / rows))


def panels(
    count: int, shape: tuple[int, int], size: tuple[float, float], kind: type[Figure] = Figure, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure of a size in inches, and the axes of ``count`` panels in a grid; the other axes are hidden."""
    figure = kind(figsize=size, layout="constrained")
    axes = list(figure.subplots(*shape, squeeze=False, **shared).flat)
    for ax in axes[count:]:
        ax.set_visible(False)
    return figure, axes[:count]


def text_at_edge(ax: Axes, y: float, text: str, **options: Any) -> None:
    """Write above a horizontal line, at the right edge of a panel."""
    settings = {"color": GREY, "fontsize": 8, "ha": "right", "va": "bottom", **options}
    ax.text(0.99, y, text, transform=ax.get_yaxis_transform(), **settings)


def folded_caption(caption: str, width: int) -> str:
    """Break each line of a caption into lines of about ``width`` characters."""
    lines = (line.strip() for text in caption.split("\n") for line in folded(text, width).split("\n"))
    return "\n".join(lines)


def caption_above(drawing: Figure, caption: str) -> None:
    """Write a caption above all panels, if there is one."""
    if caption:
        drawing.suptitle(caption, x=0.005, ha="left", fontsize=9)


def legend_beside(drawing: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend beside the panels, with every label that is in any of them."""
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    drawing.legend(list(handles.values()), list(handles), loc="outside right upper", frameon=False, handlelength=2.8)


def curve_with_band(
    ax: Axes,
    x: Array,
    curve: tuple[Array, Array, Array],
    label: str,
    look: dict[str, Any],
    order: float = 3,
    gid: str | None = None,
) -> None:
    """Draw a curve, and its interval as a band: middle, lower and upper ends, each of the shape of ``x``."""
    middle, low, high = curve
    ax.plot(x, middle, label=label, zorder=order, gid=gid, **look)
    if np.isfinite(low).any():
        band = None if gid is None else f"{gid}-band"
        ax.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0, zorder=2, gid=band)


def bands(estimates: Sequence[Interval]) -> tuple[Array, Array, Array]:
    """Return the values and the lower and upper ends of estimates, each of shape (len(estimates),)."""
    middle, low, high = (np.array([getattr(one, end) for one in estimates]) for end in ("value", "low", "high"))
    return middle, low, high


def check_suffix(file: Path) -> None:
    """Refuse a file of an unknown format."""
    if file.suffix.lower() not in FORMATS:
        raise ParameterError(f"{file}: unknown suffix '{file.suffix}'; accepted: {listing(FORMATS)}")


def encode(figure: Figure, suffix: str, *, as_text: bool = False, **options: Any) -> bytes:
    """Return a figure's file; equal figures give equal bytes."""
    buffer = io.BytesIO()
    # Vector formats would merge all pictures into one, moved by a fraction of a pixel.
    settings: Any = {"image.composite_image": False, "svg.fonttype": "none" if as_text else "path"}
    with context(), matplotlib.rc_context(settings):
        _without_broken_formulas(figure)
        figure.savefig(buffer, format=suffix.lstrip("."), metadata=FORMATS[suffix], **options)
    return buffer.getvalue()


def _without_broken_formulas(figure: Figure) -> None:
    """Draw texts that have dollar signs but are no valid formula, as labels may be, as plain text."""
    parser = MathTextParser("path")
    for text in figure.findobj(Text):
        if isinstance(text, Text) and "$" in text.get_text():
            try:
                for line in text.get_text().split("\n"):
                    parser.parse(line)
            except ValueError:
                text.set_parse_math(False)
