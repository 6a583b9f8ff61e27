"""The figure of the transfer gap: PSNR under recorded and under drawn noise, gaps, and the correlation of the noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gahbench._util.readable import level_name
from gahbench.board.transfer import DIRECTIONS, Transfer, TransferRow
from gahbench.report.cells import file_stems, fold_label
from gahbench.report.drawing import GREY, Styles, create_panels, encode, entrant_styles, figure_style

if TYPE_CHECKING:
    from gahbench.board.display_names import DisplayNames
    from gahbench.board.results import Results

_LABEL_WIDTH = 32
_MARKERS = {"columns": "o", "rows": "s"}
_ALONG = {"columns": "a row", "rows": "a column"}


def transfer_figure(transfer: Transfer, entrants: Sequence[str], names: DisplayNames) -> Figure:
    """Draw PSNR under both kinds of noise, the gap of each entrant, and the correlation of the recorded noise."""
    with figure_style():
        styles = entrant_styles(entrants, {row.entrant: row.kind for row in transfer.rows})
        labels = [fold_label(names.entrant(row.entrant), _LABEL_WIDTH) for row in transfer.rows]
        lines = sum(label.count("\n") + 1 for label in labels)
        drawing, axes = create_panels(3, (1, 3), (10.2, 1.3 + 0.24 * max(lines, 6)))
        draw_psnr(axes[0], transfer.rows, styles)
        draw_gaps(axes[1], transfer.rows, styles)
        draw_correlations(axes[2], transfer)
        for ax in axes[:2]:
            ax.set_ylim(len(labels) - 0.4, -0.6)
            ax.grid(axis="y", visible=False)
        axes[0].set_yticks(range(len(labels)), labels)
        axes[1].set_yticks(range(len(labels)), [""] * len(labels))
        axes[0].set_title(
            fold_label(f"{names.dataset(transfer.dataset)}, σ = {level_name(transfer.sigma)}", 44), loc="left"
        )
        axes[1].set_title("transfer gap, with 95 % intervals", loc="left")
        axes[2].set_title("correlation of the recorded noise", loc="left")
    return drawing


def transfer_figures(results: Results) -> Iterator[tuple[str, bytes]]:
    """Yield the file name and the content of the figure of each dataset with recorded noise, as PNG and as SVG."""
    stems = file_stems([board.dataset for board in results.board.datasets])
    for dataset, transfer in results.transfers.items():
        drawing = transfer_figure(transfer, results.entrants, results.names)
        for suffix in (".png", ".svg"):
            content = encode(drawing, suffix, bbox_inches="tight", pad_inches=0.06)
            yield f"transfer-{stems[dataset]}{suffix}", content


def draw_psnr(ax: Axes, rows: Sequence[TransferRow], styles: Styles) -> None:
    """Draw the PSNR of each entrant under drawn noise, a tick, and under recorded noise, its marker."""
    for index, row in enumerate(rows):
        style: dict[str, Any] = {**styles[row.entrant], "linestyle": ""}
        ax.plot([row.drawn.value, row.recorded.value], [index, index], color=style["color"], linewidth=1, zorder=2)
        # The markers of some entrants are hollow or filled themselves.
        ax.plot(row.drawn.value, index, zorder=3, **(style | {"marker": "|", "markersize": 9}))
        ax.plot(row.recorded.value, index, zorder=3, **style)
    ax.margins(x=0.08)
    ax.set_xlabel("PSNR (dB); tick: under drawn noise")


def draw_gaps(ax: Axes, rows: Sequence[TransferRow], styles: Styles) -> None:
    """Draw the transfer gap of each entrant with its interval."""
    ax.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    for index, row in enumerate(rows):
        style = styles[row.entrant]
        ax.plot([row.gap.low, row.gap.high], [index, index], color=style["color"], linewidth=1.3, zorder=2)
        ax.plot(row.gap.value, index, zorder=3, gid=f"gap-{index}", **(style | {"linestyle": ""}))
    ax.margins(x=0.08)
    ax.set_xlabel("recorded minus drawn (dB)")


def draw_correlations(ax: Axes, transfer: Transfer) -> None:
    """Draw the correlation of the noise of two pixels against their distance."""
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    for direction, colour in zip(DIRECTIONS, ("0.15", "0.5"), strict=True):
        values = transfer.correlations.get(direction, [])
        distances = np.arange(len(values) + 1)
        heights = [1.0, *(value.value for value in values)]
        # White noise has the correlation 1 at distance 0 only.
        ax.plot(distances, heights, color=colour, marker=_MARKERS[direction], label=f"along {_ALONG[direction]}")
        ax.vlines(distances[1:], [v.low for v in values], [v.high for v in values], color=colour, linewidth=1)
    ax.set_xlabel("distance (pixels)")
    ax.set_xticks(range(1 + max(map(len, transfer.correlations.values()), default=0)))
    ax.set_ylim(min(-0.25, *(v.value - 0.1 for values in transfer.correlations.values() for v in values)), 1.05)
    ax.legend(frameon=False)
