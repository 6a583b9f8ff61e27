"""One figure for each dataset: PSNR, gain over the baseline and deficit from the optimum, against input PSNR."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gahbench.board.leaderboard import level_name, noise_levels
from gahbench.evaluation.rates import input_psnr
from gahbench.report.cells import folded

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gahbench.board.results import Results

_MARKERS = "osD^vPX<>pdhH*"
_DASHES: dict[str, str] = {"oracle": "--", "optimal": ":", "bound": ":"}
GREY = "0.45"
_BEYOND = "0.94"
_OPTIMA = ("optimal", "bound")
_MOST_DEFICIT = 20.0  # dB: curves below are off the panel, and in the tables
_LABEL = 28  # characters in a line of the legend
Styles = dict[str, dict[str, Any]]
_STYLE: dict[str, Any] = {
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


def rendered(board: pd.DataFrame, results: Results) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of every figure, PNG and SVG; equal boards give equal bytes."""
    from gahbench.report.encoding import encode

    datasets = [str(name) for name in board["dataset"].unique()]
    for dataset, stem in file_stems(datasets).items():
        drawing = figure(board, dataset, results.entrants, results.baseline)
        if drawing is None:
            continue
        for suffix in (".png", ".svg"):
            yield f"{stem}{suffix}", encode(drawing, suffix, bbox_inches="tight", pad_inches=0.06)


def file_stems(labels: list[str]) -> dict[str, str]:
    """Return a file name, without suffix, for each label: safe, and unique whatever the case."""
    stems: dict[str, str] = {}
    for label in labels:
        stem = re.sub(r"[^A-Za-z0-9.=+-]+", "_", label).strip("_.")[:100] or "dataset"
        stems[label] = stem
    lowered = [stem.lower() for stem in stems.values()]
    return {
        label: stem if lowered.count(stem.lower()) == 1 else f"{stem}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
        for label, stem in stems.items()
    }


def figure(board: pd.DataFrame, dataset: str, entrants: Sequence[str], baseline: str | None = None) -> Figure | None:
    """Draw one dataset's figure; ``None`` if no entrant has a PSNR.

    On the left, output PSNR against input PSNR (dB), with the 95 % interval as a band, the identity (an
    output no better than its input) and, where it is known, a line of the optimal slope; on the right, if
    the baseline was scored, the paired gain over it, cut off where the losses would hide the gains; then,
    where the optimum is known, the deficit from it (from a bound, the most that it can be), with what is
    beyond it in grey. Solid lines are denoisers that can be used, dashed ones oracles, dotted ones
    optimal or bounds. With a single noise level, the entrants are listed with their intervals instead.

    Parameters
    ----------
    board
        Of :meth:`Results.leaderboard`.
    entrants
        All labels: an entrant looks the same in the figure of every dataset.
    baseline
        The entrant that the board's gains are against.
    """
    rows = board[board["dataset"] == dataset]
    sigmas = noise_levels(rows)
    if not sigmas:
        return None
    scored = rows[rows[[f"psnr@{level_name(sigma)}" for sigma in sigmas]].notna().any(axis=1)]
    has_gains = scored["gain_over_baseline"].notna().any() and len(scored) > 1
    gain_of = baseline if has_gains else None
    with context():
        styles = looks(entrants, dict(zip(scored["entrant"], scored["kind"], strict=True)))
        if len(sigmas) == 1:
            return _dots(scored, dataset, sigmas[0], gain_of, styles)
        return _curves(scored, dataset, sigmas, gain_of, styles)


def context() -> Any:
    """Return a context with our look: style sheets and settings of the user's session play no part."""
    import matplotlib
    import seaborn

    style = {**matplotlib.rcParamsDefault, **seaborn.axes_style("ticks"), **_STYLE}
    # A Figure draws through Agg and SVG, whatever shows the windows of the session.
    return matplotlib.rc_context({key: style[key] for key in style if not key.startswith("backend")})


def looks(entrants: Sequence[str], kinds: dict[str, str]) -> Styles:
    """Return how to draw each entrant: no two have both the same colour and the same marker."""
    import seaborn

    palette = seaborn.color_palette("colorblind")
    colours = palette[:6] + palette[9:]  # without the grey of reference lines, and those too pale for lines
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


def _curves(rows: pd.DataFrame, dataset: str, sigmas: list[float], baseline: str | None, styles: Styles) -> Figure:
    """Draw PSNR, and gain over the baseline, against input PSNR."""
    import seaborn
    from matplotlib.figure import Figure

    optimum = rows[rows["kind"].isin(_OPTIMA)]
    # What is unknown of a denoiser that stands for the optimum is its own deficit.
    compared = rows[rows["deficit"].notna()]
    panels = 1 + (baseline is not None) + (not compared.empty)
    labels = {entrant: folded(entrant, _LABEL) for entrant in styles}
    lines = [line for label in labels.values() for line in label.split("\n")]
    # Inches, by the size of the legend's font: panels keep their size, whatever the labels.
    legend = 0.65 + 0.07 * max(map(len, lines))
    size = (3.6 * panels + legend, max(3.6, 0.185 * len(lines) + 0.4))
    drawing = Figure(figsize=size, layout="constrained")
    axes = drawing.subplots(1, panels, squeeze=False)[0]
    _draw(axes[0], rows, "psnr", sigmas, styles, labels)
    _reference_lines(axes[0], rows, sigmas)
    axes[0].set_ylabel("output PSNR (dB)")
    axes[0].set_title(dataset, loc="left")
    if baseline is not None:
        axes[1].axhline(0, color=GREY, linewidth=0.8, zorder=1)
        _draw(axes[1], rows, "gain_over_baseline", sigmas, styles, labels)
        axes[1].set_ylabel("gain (dB)")
        axes[1].set_title(f"gain over {folded(baseline, 34)}", loc="left")
        _cut_losses(axes[1])
    if not compared.empty:
        kind = str(optimum["kind"].iloc[0])
        _deficits(axes[-1], compared, sigmas, styles, labels, kind)
    for ax in axes:
        ax.set_xlabel("input PSNR (dB)")
        seaborn.despine(ax=ax)
    legend_beside(drawing, axes)
    return drawing


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
) -> None:
    """Draw a curve, and its interval as a band: middle, lower and upper ends, each of the shape of ``x``."""
    middle, low, high = curve
    ax.plot(x, middle, label=label, zorder=order, **look)
    if np.isfinite(low).any():
        ax.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0, zorder=2)


def _draw(ax: Axes, rows: pd.DataFrame, name: str, sigmas: list[float], styles: Styles, labels: dict[str, str]) -> None:
    x = input_psnr(sigmas)
    for index, row in enumerate(rows.to_dict("records")):
        entrant = str(row["entrant"])
        middle, low, high = (
            np.array([row[f"{name}@{level_name(sigma)}{end}"] for sigma in sigmas], dtype=np.float64)
            for end in ("", "_low", "_high")
        )
        # The best on top, as in the legend.
        order = 3 + 0.01 * (len(rows) - index)
        curve_with_band(ax, x, (middle, low, high), labels[entrant], styles[entrant], order)


def _deficits(
    ax: Axes, rows: pd.DataFrame, sigmas: list[float], styles: Styles, labels: dict[str, str], kind: str
) -> None:
    """Draw the deficits from the optimum, smallest on top; curves far below leave the frame."""
    _draw(ax, rows, "deficit", sigmas, styles, labels)
    values = rows[[f"deficit@{level_name(sigma)}" for sigma in sigmas]].to_numpy(dtype=np.float64)
    least = min(0.0, float(np.nanmin(values)))
    # All may be beyond the optimum, or at it.
    most = max(min(float(np.nanmax(values)), _MOST_DEFICIT), least + 1)
    margin = 0.06 * (most - least)
    ax.set_ylim(most + margin, least - margin)
    ax.axhspan(least - margin, 0, color=_BEYOND, linewidth=0, zorder=0)
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    ax.set_ylabel("deficit (dB)")
    ax.set_title("deficit from the optimum" if kind == "optimal" else "deficit from the bound (at most)", loc="left")


def _cut_losses(ax: Axes) -> None:
    """Let curves far below the baseline leave the frame, and say so: the other panel has all of them."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in ax.get_lines()])
    least, most = float(np.nanmin(values)), float(np.nanmax(values))
    floor = -max(4.0, 1.5 * most)
    if least < floor - 1:
        # The bands reach above the curves, and must stay whole.
        top = max([most, *(float(band.get_datalim(ax.transData).y1) for band in ax.collections)])
        ax.set_ylim(floor, top + 0.05 * (top - floor))
        lowest = f"cut below; lowest: {least:.1f} dB".replace("-", "−")
        # Losses are least at low noise, on the right: the left corner is free.
        corner: dict[str, Any] = {"transform": ax.transAxes, "ha": "left", "va": "bottom"}
        ax.text(0.02, 0.02, lowest, fontsize=7, color=GREY, **corner)


def _reference_lines(ax: Axes, rows: pd.DataFrame, sigmas: list[float]) -> None:
    """Draw the identity and, just above the best curve, a line of the optimal slope."""
    x = input_psnr(sigmas)
    span = np.array([x.min(), x.max()])
    ax.plot(span, span, color="0.7", linewidth=0.8, zorder=1)
    _along(ax, float(span[0] + 0.3 * np.ptp(span)), 1.0, 0.0, "output = input", below=True)
    slope = float(rows["optimal_slope"].iloc[0])
    if np.isnan(slope):
        return
    curves = rows[[f"psnr@{level_name(sigma)}" for sigma in sigmas]].to_numpy(dtype=np.float64)
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


def _dots(rows: pd.DataFrame, dataset: str, sigma: float, baseline: str | None, styles: Styles) -> Figure:
    """List the entrants from best to worst, with PSNR, and gain over the baseline, at one noise level."""
    import seaborn
    from matplotlib.figure import Figure

    panels = 1 if baseline is None else 2
    labels = [folded(str(entrant), _LABEL) for entrant in rows["entrant"]]
    lines = [line for label in labels for line in label.split("\n")]
    size = (2.9 * panels + 0.3 + 0.08 * max(map(len, lines)), 0.9 + 0.27 * max(len(lines), 3))
    drawing = Figure(figsize=size, layout="constrained")
    axes = drawing.subplots(1, panels, squeeze=False, sharey=True)[0]
    for ax, name in zip(axes, ("psnr", "gain_over_baseline"), strict=False):
        for place, row in enumerate(rows.to_dict("records")):
            style = styles[row["entrant"]]
            ends = [row[f"{name}_low"], row[f"{name}_high"]]
            ax.plot(ends, [place, place], color=style["color"], linewidth=1.3, zorder=2)
            ax.plot(row[name], place, zorder=3, **style)
        ax.grid(axis="x", visible=False)
        ax.margins(x=0.08)
        seaborn.despine(ax=ax)
    noisy = float(input_psnr(sigma))
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].set_ylim(len(labels) - 0.4, -0.6)
    axes[0].set_xlabel(f"PSNR (dB), noisy: {noisy:.2f}")
    axes[0].set_title(f"{dataset}, σ = {level_name(sigma)}", loc="left")
    if baseline is not None:
        axes[1].axvline(0, color=GREY, linewidth=0.8, zorder=1)
        axes[1].set_xlabel("gain (dB)")
        axes[1].set_title(f"gain over {folded(baseline, 28)}", loc="left")
    return drawing
