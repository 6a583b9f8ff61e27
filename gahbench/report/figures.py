"""One figure for each dataset: PSNR, gain over the baseline and deficit from the optimum, against input PSNR."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gahbench._util.readable import level_name
from gahbench.board.board import DatasetBoard, Entry
from gahbench.board.statistics import Estimate
from gahbench.evaluation.rates import input_psnr
from gahbench.report.cells import folded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gahbench.board.results import Results

# Not a multiple of the number of colours, nor it of theirs: pairs repeat after 91.
_MARKERS = "osD^vPX<>pdh*"
_DASHES: dict[str, str] = {"oracle": "--", "optimal": ":", "bound": ":"}
GREY = "0.45"
_BEYOND = "0.94"
_OPTIMA = ("optimal", "bound")
_MAX_DEFICIT = 20.0  # dB: curves below are off the panel, and in the tables
_LABEL = 28  # characters in a line of the legend
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


def rendered(results: Results) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of every figure, PNG and SVG; equal boards give equal bytes."""
    from gahbench.report.encoding import encode

    stems = file_stems([board.dataset for board in results.board.datasets])
    for board in results.board.datasets:
        stem = stems[board.dataset]
        drawing = figure(board, results.entrants, results.baseline)
        if drawing is None:
            continue
        for suffix in (".png", ".svg"):
            yield f"{stem}{suffix}", encode(drawing, suffix, bbox_inches="tight", pad_inches=0.06)


def file_stems(labels: list[str]) -> dict[str, str]:
    """Return a file name, without suffix, for each label: safe, and unique regardless of case."""
    stems: dict[str, str] = {}
    for label in labels:
        stem = re.sub(r"[^A-Za-z0-9.=+-]+", "_", label).strip("_.")[:100] or "dataset"
        stems[label] = stem
    lowered = [stem.lower() for stem in stems.values()]
    used: set[str] = set()
    for label, stem in stems.items():
        if lowered.count(stem.lower()) > 1:
            stem = f"{stem}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
        # A label may be chosen to be what another becomes.
        while stem.lower() in used:
            stem += "_"
        used.add(stem.lower())
        stems[label] = stem
    return stems


def figure(board: DatasetBoard, entrants: Sequence[str], baseline: str | None = None) -> Figure | None:
    """Draw one dataset's figure; ``None`` if no entrant has a PSNR."""
    if not board.sigmas:
        return None
    scored = [
        entry
        for entry in board.entries
        if any(board.estimate(entry.entrant, "psnr", sigma=sigma).is_known for sigma in board.sigmas)
    ]
    has_gains = board.is_known("gain_over_baseline") and len(scored) > 1
    gain_of = baseline if has_gains else None
    with context():
        styles = looks(entrants, {entry.entrant: entry.kind for entry in scored})
        if len(board.sigmas) == 1:
            return _dots(board, scored, gain_of, styles)
        return _curves(board, scored, gain_of, styles)


def context() -> Any:
    """Return a context with our look: style sheets and settings of the user's session play no part."""
    import matplotlib

    defaults: Any = matplotlib.rcParamsDefault
    style: dict[str, Any] = {**defaults, **_STYLE}
    # A Figure draws through Agg and SVG, whatever shows the windows of the session.
    settings: Any = {key: style[key] for key in style if not key.startswith("backend")}
    return matplotlib.rc_context(settings)


def looks(entrants: Sequence[str], kinds: dict[str, str]) -> Styles:
    """Return how to draw each entrant: no two have both the same colour and the same marker."""
    colours = PALETTE[:6] + PALETTE[9:]  # without the grey of reference lines, and those too pale for lines
    return {
        entrant: {
            "color": colours[index % len(colours)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "linestyle": _DASHES.get(kinds[entrant], "-"),
            "markerfacecolor": "white" if kinds[entrant] in _DASHES else colours[index % len(colours)],
        }
        for index, entrant in enumerate(entrants)
        if entrant in kinds
    }


def _curves(board: DatasetBoard, entries: Sequence[Entry], baseline: str | None, styles: Styles) -> Figure:
    """Draw PSNR, and gain over the baseline, against input PSNR."""
    from gahbench.report.shown import ShownFigure

    shown = quantities(board, entries, baseline)
    labels = {entrant: folded(entrant, _LABEL) for entrant in styles}
    lines = [line for label in labels.values() for line in label.split("\n")]
    # Inches, by the size of the legend's font: panels keep their size, whatever the labels.
    legend = 0.65 + 0.07 * max(map(len, lines))
    size = (3.6 * len(shown) + legend, max(3.6, 0.185 * len(lines) + 0.4))
    drawing = ShownFigure(figsize=size, layout="constrained")
    axes = drawing.subplots(1, len(shown), squeeze=False)[0]
    for ax, quantity in zip(axes, shown, strict=True):
        ax.set_title(draw_quantity(ax, board, entries, quantity, styles, labels, baseline), loc="left")
    axes[0].set_title(board.dataset, loc="left")
    legend_beside(drawing, axes)
    return drawing


def quantities(board: DatasetBoard, entries: Sequence[Entry], baseline: str | None) -> list[str]:
    """Return the values that are drawn against input PSNR: PSNR, and those that are known of gain and deficit."""
    # The optimum itself has no deficit.
    compared = any(board.estimate(entry.entrant, "deficit").is_known for entry in entries)
    return ["psnr"] + ["gain_over_baseline"] * (baseline is not None) + ["deficit"] * compared


def draw_quantity(
    ax: Axes,
    board: DatasetBoard,
    entries: Sequence[Entry],
    quantity: str,
    styles: Styles,
    labels: dict[str, str],
    baseline: str | None,
) -> str:
    """Draw one of :func:`quantities` against input PSNR, and return what it is, for a title."""
    ax.set_xlabel("input PSNR (dB)")
    if quantity == "deficit":
        compared = [entry for entry in entries if board.estimate(entry.entrant, "deficit").is_known]
        kind = next((entry.kind for entry in board.entries if entry.kind in _OPTIMA), "optimal")
        return _deficits(ax, board, compared, styles, labels, kind)
    if quantity == "gain_over_baseline":
        ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
        draw_entrants(ax, board, entries, quantity, styles, labels)
        ax.set_ylabel("gain (dB)")
        _cut_losses(ax)
        return f"gain over {folded(str(baseline), 34)}"
    draw_entrants(ax, board, entries, quantity, styles, labels)
    _reference_lines(ax, board, entries)
    ax.set_ylabel("output PSNR (dB)")
    return "output PSNR"


def grid_shape(panels: int, abreast: int) -> tuple[int, int]:
    """Return the numbers of rows and columns of panels, given the maximum of columns."""
    rows = max(1, math.ceil(panels / abreast))
    return rows, max(1, math.ceil(panels / rows))


def caption_above(drawing: Figure, caption: str) -> None:
    """Write a caption above all panels, if there is one."""
    if caption:
        drawing.suptitle(caption, x=0.005, ha="left", fontsize=9)


def legend_beside(drawing: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend beside the panels, with every label that is in any of them."""
    found = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    drawing.legend(list(found.values()), list(found), loc="outside right upper", frameon=False, handlelength=2.8)


def curve_with_band(
    ax: Axes,
    x: NDArray[np.float64],
    curve: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
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


def bands(found: Sequence[Estimate]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the values and the lower and upper ends of estimates, each of shape (len(found),)."""
    middle, low, high = (np.array([getattr(one, end) for one in found]) for end in ("value", "low", "high"))
    return middle, low, high


def _at_levels(board: DatasetBoard, entrant: str, quantity: str) -> list[Estimate]:
    return [board.estimate(entrant, quantity, sigma=sigma) for sigma in board.sigmas]


def draw_entrants(
    ax: Axes, board: DatasetBoard, entries: Sequence[Entry], quantity: str, styles: Styles, labels: dict[str, str]
) -> None:
    """Draw a value against input PSNR, a curve for each entrant; its ``id`` in an SVG is the value and its place."""
    x = input_psnr(board.sigmas)
    places = {entrant: place for place, entrant in enumerate(styles)}
    for index, entry in enumerate(entries):
        curve = bands(_at_levels(board, entry.entrant, quantity))
        # The best on top, as in the legend.
        order = 3 + 0.01 * (len(entries) - index)
        gid = f"{quantity}-{places[entry.entrant]}"
        curve_with_band(ax, x, curve, labels[entry.entrant], styles[entry.entrant], order, gid)


def _deficits(
    ax: Axes, board: DatasetBoard, entries: Sequence[Entry], styles: Styles, labels: dict[str, str], kind: str
) -> str:
    """Draw the deficits from the optimum, smallest on top; curves far below leave the frame. Return what they are."""
    draw_entrants(ax, board, entries, "deficit", styles, labels)
    values = np.array([bands(_at_levels(board, entry.entrant, "deficit"))[0] for entry in entries])
    lowest = min(0.0, float(np.nanmin(values)))
    # All may be beyond the optimum, or at it.
    highest = max(min(float(np.nanmax(values)), _MAX_DEFICIT), lowest + 1)
    margin = 0.06 * (highest - lowest)
    ax.set_ylim(highest + margin, lowest - margin)
    ax.axhspan(lowest - margin, 0, color=_BEYOND, linewidth=0, zorder=0)
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    ax.set_ylabel("deficit (dB)")
    return "deficit from the optimum" if kind == "optimal" else "deficit from the bound (at most)"


def _cut_losses(ax: Axes) -> None:
    """Let curves far below the baseline leave the frame, with a note: the other panel has all of them."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in ax.get_lines()])
    lowest, highest = float(np.nanmin(values)), float(np.nanmax(values))
    floor = -max(4.0, 1.5 * highest)
    if lowest < floor - 1:
        # The bands reach above the curves, and must stay whole.
        top = max([highest, *(float(band.get_datalim(ax.transData).y1) for band in ax.collections)])
        ax.set_ylim(floor, top + 0.05 * (top - floor))
        text = f"cut below; lowest: {lowest:.1f} dB".replace("-", "−")
        # Losses are smallest at low noise, on the right: the left corner is free.
        corner: dict[str, Any] = {"transform": ax.transAxes, "ha": "left", "va": "bottom"}
        ax.text(0.02, 0.02, text, fontsize=7, color=GREY, **corner)


def _reference_lines(ax: Axes, board: DatasetBoard, entries: Sequence[Entry]) -> None:
    """Draw the identity and, just above the best curve, a line of the optimal slope."""
    x = input_psnr(board.sigmas)
    span = np.array([x.min(), x.max()])
    ax.plot(span, span, color="0.7", linewidth=0.8, zorder=1)
    _along(ax, float(span[0] + 0.3 * np.ptp(span)), 1.0, 0.0, "output = input", below=True)
    slope = entries[0].optimal_slope
    if np.isnan(slope):
        return
    curves = np.array([bands(_at_levels(board, entry.entrant, "psnr"))[0] for entry in entries])
    intercept = float(np.nanmax(curves - slope * x)) + 0.05 * float(np.ptp(x))
    ax.plot(span, intercept + slope * span, color=GREY, linewidth=1, zorder=1)
    _along(ax, float(span[0] + 0.4 * np.ptp(span)), slope, intercept, f"optimal slope {slope:.2f}")


def _along(ax: Axes, x: float, slope: float, intercept: float, text: str, below: bool = False) -> None:
    """Write along a line of a panel, above or below it."""
    from matplotlib.transforms import offset_copy

    ax.text(
        x,
        slope * x + intercept,
        text,
        transform=offset_copy(ax.transData, fig=ax.get_figure(root=True), x=0, y=-3 if below else 2, units="points"),
        rotation=float(np.degrees(np.arctan(slope))),
        rotation_mode="anchor",
        transform_rotates_text=True,
        ha="center",
        va="top" if below else "bottom",
        fontsize=7.5,
        color=GREY,
    )


def _dots(board: DatasetBoard, entries: Sequence[Entry], baseline: str | None, styles: Styles) -> Figure:
    """List the entrants from best to worst, with PSNR, and gain over the baseline, at one noise level."""
    from gahbench.report.shown import ShownFigure

    panels = 1 if baseline is None else 2
    labels = [folded(entry.entrant, _LABEL) for entry in entries]
    lines = [line for label in labels for line in label.split("\n")]
    size = (2.9 * panels + 0.3 + 0.08 * max(map(len, lines)), 0.9 + 0.27 * max(len(lines), 3))
    drawing = ShownFigure(figsize=size, layout="constrained")
    axes = drawing.subplots(1, panels, squeeze=False, sharey=True)[0]
    for ax, name in zip(axes, ("psnr", "gain_over_baseline"), strict=False):
        for place, entry in enumerate(entries):
            style, found = styles[entry.entrant], board.estimate(entry.entrant, name)
            ax.plot([found.low, found.high], [place, place], color=style["color"], linewidth=1.3, zorder=2)
            ax.plot(found.value, place, zorder=3, **style)
        ax.grid(axis="x", visible=False)
        ax.margins(x=0.08)
    (sigma,) = board.sigmas
    noisy = float(input_psnr(sigma))
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].set_ylim(len(labels) - 0.4, -0.6)
    axes[0].set_xlabel(f"PSNR (dB), noisy: {noisy:.2f}")
    axes[0].set_title(f"{board.dataset}, σ = {level_name(sigma)}", loc="left")
    if baseline is not None:
        axes[1].axvline(0, color=GREY, linewidth=0.8, zorder=1)
        axes[1].set_xlabel("gain (dB)")
        axes[1].set_title(f"gain over {folded(baseline, 28)}", loc="left")
    return drawing
