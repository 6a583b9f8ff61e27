"""Direction and alignment as figures: bases ranked by them, and their course with the noise level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gahbench.evaluation.rates import input_psnr
from gahbench.report.cells import folded
from gahbench.report.drawing import (
    GREY,
    Styles,
    caption_above,
    context,
    curve_with_band,
    grid_shape,
    legend_beside,
    looks,
)
from gahbench.report.eigenvectors import folded_caption

if TYPE_CHECKING:
    from gahbench.board.alignments import AgreementCurve, Aligned, Measure

_ABREAST = 3
_LABEL = 28
#: Square root of the agreement with itself under fresh noise: what a basis that sees no noise can reach.
_CEILING = "ceiling: what a basis can reach"
_CIRCLE: dict[str, Any] = {
    "marker": "o",
    "markersize": 5,
    "markerfacecolor": "white",
    "markeredgecolor": "0.15",
    "linestyle": "none",
}
_DIAMOND: dict[str, Any] = {**_CIRCLE, "marker": "D", "markersize": 4.5, "markerfacecolor": "0.15"}


def ranking_figure(panels: Mapping[str, Mapping[str, Aligned]], caption: str = "") -> Figure:
    """Draw bases by how well a denoiser agrees with their directions, a panel for each denoiser or noise level."""
    names = list(dict.fromkeys(name for rows in panels.values() for name in rows))
    labels = {name: folded(name, _LABEL) for name in names}
    blocks, abreast = grid_shape(len(panels), _ABREAST)
    lines = max(sum(labels[name].count("\n") + 1 for name in rows) for rows in panels.values())
    widest = max(len(line) for label in labels.values() for line in label.split("\n"))
    with context():
        styles = looks(names, dict.fromkeys(names, "classical"))
        caption = folded_caption(caption, 45 * abreast + 10)
        wide = 2.9 + 0.07 * widest
        tall = 0.95 + 0.26 * max(lines, 3)
        size = (wide * abreast + 0.1, tall * blocks + 0.55 + 0.17 * caption.count("\n"))
        drawing = Figure(figsize=size, layout="constrained")
        # In vain where panels are one above the other: only those of a row share their axis.
        axes = drawing.subplots(blocks, abreast, squeeze=False, sharex=True)
        for ax, (title, rows) in zip(axes.flat, panels.items(), strict=False):
            _ranks(ax, rows, styles, labels)
            ax.set_title(folded(title, int(15 * wide)), loc="left")
            ax.set_xlabel(_scale(rows))
            ax.tick_params(labelbottom=True)
            ax.margins(x=0.06)
        for ax in list(axes.flat)[len(panels) :]:
            ax.set_visible(False)
        caption_above(drawing, caption)
        _legend_below(drawing, list(axes.flat)[: len(panels)])
    return drawing


def course_figure(
    panels: Mapping[str, Mapping[str, AgreementCurve]],
    order: Sequence[str],
    kinds: Mapping[str, str],
    what: str,
    metric: Measure = "direction",
) -> Figure:
    """Draw direction, or alignment, against input PSNR, a panel for each dataset and a curve for each label."""
    blocks, abreast = grid_shape(len(panels), _ABREAST)
    # Crosses, since at a single noise level there is no line.
    dotted: dict[str, Any] = {"linestyle": ":", "linewidth": 0.9, "marker": "x", "markersize": 3.5}
    with context():
        styles = looks(order, dict(kinds))
        shown = dict.fromkeys(label for curves in panels.values() for label in curves)
        names = {label: folded(label, _LABEL) for label in shown}
        lines = sum(name.count("\n") + 1 for name in names.values()) + 1
        widest = max(len(line) for name in (*names.values(), folded(_CEILING, _LABEL)) for line in name.split("\n"))
        size = (3.3 * abreast + 0.65 + 0.07 * widest, max(3.3 * blocks, 0.185 * lines + 0.4))
        drawing = Figure(figsize=size, layout="constrained")
        axes = drawing.subplots(blocks, abreast, squeeze=False, sharey=True)
        flat = list(axes.flat)
        for ax, (title, curves) in zip(flat, panels.items(), strict=False):
            for label, curve in curves.items():
                x = input_psnr(curve.sigmas)
                curve_with_band(ax, x, (curve.value, curve.low, curve.high), names[label], styles[label])
                ax.plot(x, curve.ceiling, color=styles[label]["color"], zorder=2, **dotted)
            ax.axhline(0, color=GREY, linewidth=0.6, zorder=1)
            if any(np.isfinite(curve.ceiling).any() for curve in curves.values()):
                ax.plot([], [], color=GREY, label=_broken(_CEILING), **dotted)
            ax.set_title(folded_caption(title, 38), loc="left")
            ax.set_xlabel("input PSNR (dB)")
            ax.tick_params(labelleft=True)
        for ax in flat[len(panels) :]:
            ax.set_visible(False)
        for row in axes:
            row[0].set_ylabel(f"{metric} with\n{folded(what, 40)} (cosine)")
        legend_beside(drawing, flat[: len(panels)])
    return drawing


def _ranks(ax: Axes, rows: Mapping[str, Aligned], styles: Styles, labels: Mapping[str, str]) -> None:
    """List the bases of one panel from the best down."""
    ordered = sorted(rows, key=lambda name: -rows[name].ranked)
    ceilings = [row.ceiling for row in rows.values() if not math.isnan(row.ceiling)]
    ax.axvline(0, color=GREY, linewidth=0.6, zorder=1)
    if ceilings:
        # It has to do with the denoiser alone, and is the same for all bases.
        mean = sum(ceilings) / len(ceilings)
        ax.axvline(mean, color=GREY, linewidth=0.9, linestyle="--", zorder=1, label=_CEILING)
    for place, name in enumerate(ordered):
        row = rows[name]
        ax.barh(place, row.headline.value, height=0.55, color=styles[name]["color"], alpha=0.75, zorder=2)
        ax.plot([row.headline.low, row.headline.high], [place, place], color="0.15", linewidth=1.2, zorder=3)
        if row.direction.is_known:
            ax.plot(row.alignment.value, place, zorder=4, **_CIRCLE)
        if not math.isnan(row.single):
            ax.plot(row.single, place, zorder=5, **_DIAMOND)
        if not math.isnan(row.retrieval):
            beside: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "ha": "left", "va": "center"}
            ax.text(1.02, place, f"{100 * row.retrieval:.0f} %", fontsize=7.5, color=GREY, **beside)
    if any(not math.isnan(row.retrieval) for row in rows.values()):
        above: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "ha": "left", "va": "center"}
        ax.text(1.02, -0.85, "retrieved", fontsize=7.5, color=GREY, **above)
    ax.set_yticks(range(len(ordered)), [labels[name] for name in ordered])
    ax.set_ylim(len(ordered) - 0.4, -1.1)
    ax.grid(axis="y", visible=False)
    ax.plot(
        [], [], linestyle="-", color="0.15", linewidth=1.2, label=f"{_scale(rows)}, mean over images, 95 % interval"
    )
    if any(row.direction.is_known and row.alignment.is_known for row in rows.values()):
        ax.plot([], [], label="alignment, mean over images", **_CIRCLE)
    if any(not math.isnan(row.single) for row in rows.values()):
        ax.plot([], [], label="this image", **_DIAMOND)


def _scale(rows: Mapping[str, Aligned]) -> str:
    """Return what the bars of a panel are."""
    return "direction (cosine)" if any(row.direction.is_known for row in rows.values()) else "alignment (cosine)"


def _legend_below(drawing: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend below the panels."""
    found = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    columns = len(found) if drawing.get_figwidth() > 2.7 * len(found) else max(1, int(drawing.get_figwidth() / 2.9))
    drawing.legend(list(found.values()), list(found), loc="outside lower left", frameon=False, ncols=columns)


def _broken(text: str) -> str:
    """Break a phrase into two lines of about equal length."""
    words = text.split()
    return min(
        (" ".join(words[:cut]) + "\n" + " ".join(words[cut:]) for cut in range(1, len(words))),
        key=lambda broken: max(map(len, broken.split("\n"))),
        default=text,
    )
