"""The section of a page on the transfer from drawn to recorded noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from gahbench.board.transfer import Transfer, TransferRow
from gahbench.report.cells import Column
from gahbench.report.drawing import EndLabel, Styles, label_ends
from gahbench.report.finding import shorten
from gahbench.report.page.charts import MAX_DRAWN, Source, draw_figure, value_text
from gahbench.report.page.svg import Chart, Series
from gahbench.report.transfer import MEANING, transfer_columns, transfer_lines, transfer_title
from gahbench.report.transfer_figure import draw_correlations, draw_gaps, draw_psnr

_LABEL_WIDTH = 25


@dataclass(frozen=True, eq=False)
class TransferSection:
    """The sentences, the table and the charts of a dataset with recorded noise."""

    dataset: str
    title: str
    lines: Sequence[str]
    columns: Sequence[Column]
    charts: Sequence[Chart]
    meaning: str = MEANING


def transfer_sections(source: Source) -> list[TransferSection]:
    """Return the section of each dataset with recorded noise."""
    names = source.results.names
    return [
        TransferSection(
            dataset,
            transfer_title(transfer),
            list(transfer_lines(transfer)),
            transfer_columns(transfer, names),
            _charts(source, transfer),
        )
        for dataset, transfer in source.results.transfers.items()
    ]


def _charts(source: Source, transfer: Transfer) -> list[Chart]:
    rows = [row for row in transfer.rows if row.entrant in source.styles][:MAX_DRAWN]
    names = source.results.names
    series = {
        f"gap-{index}": Series(
            names.entrant(row.entrant), [row.gap.value], [value_text(row.gap, 2)], source.indices[row.entrant]
        )
        for index, row in enumerate(rows)
    }
    correlation, _ = draw_figure(lambda ax: draw_correlations(ax, transfer))
    return [
        Chart(_draw_list(source, rows, draw_gaps), "transfer gap", series, [""], "higher is better", "dB"),
        Chart(_draw_list(source, rows, draw_psnr), "PSNR", note="tick: drawn noise, marker: recorded noise"),
        Chart(correlation, "correlation of the recorded noise", note="white noise has correlation 0"),
    ]


def _draw_list(
    source: Source, rows: Sequence[TransferRow], draw: Callable[[Axes, Sequence[TransferRow], Styles], None]
) -> Figure:
    """Return a figure with a row for each entrant, whose name is at its right."""

    def draw_list(ax: Axes) -> None:
        draw(ax, rows, source.styles)
        ax.set_yticks([])
        ax.set_ylim(max(len(rows), 3) - 0.4, -0.6)
        labels = [
            EndLabel(
                shorten(source.results.names.entrant(row.entrant), _LABEL_WIDTH),
                float(index),
                to_hex(source.styles[row.entrant]["color"]),
                f"gap-{index}",
            )
            for index, row in enumerate(rows)
        ]
        label_ends(ax, labels)

    return draw_figure(draw_list, is_labelled=True)[0]
