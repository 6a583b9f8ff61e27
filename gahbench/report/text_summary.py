"""The summary of a board as a heat map in text: entrants by datasets, with gains and intervals of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gahbench.report import cells
from gahbench.report.heat_map import STEPS, GainCell, heat_map

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: The colours of the largest gain and of the largest loss: red, green and blue from 0 to 255.
_GAIN, _LOSS = (90, 155, 216), (230, 147, 111)
#: Maximum number of characters of a line of a heading, and the range of the width of the column of entrants.
_HEAD_WIDTH, _MIN_LABEL_WIDTH, _LABEL_WIDTH = 12, 16, 28


@dataclass(frozen=True)
class TextSummary:
    """The heat map of a board as text: a row for each entrant, and a column of gains and ranks for each dataset.

    ``styles`` has the style of each cell of ``datasets`` on a terminal.
    """

    title: str
    entrants: cells.Column
    datasets: Sequence[cells.Column]
    styles: Sequence[Sequence[str]]

    def print(self, console: Console) -> None:
        """Print the heat map in colour, in several tables if it is too wide for the console."""
        heads = [cells.fold_label(column.head, _HEAD_WIDTH) for column in self.datasets]
        columns = [(*head.split("\n"), *column.texts) for head, column in zip(heads, self.datasets, strict=True)]
        widths = [max(map(len, texts)) + 2 for texts in columns]
        label_width = max(_MIN_LABEL_WIDTH, min(_LABEL_WIDTH, console.width - sum(widths)))
        start = 0
        while start < len(widths):
            stop = start + 1
            while stop < len(widths) and label_width + sum(widths[start : stop + 1]) <= console.width:
                stop += 1
            console.print(self._table(range(start, stop), heads, label_width))
            start = stop

    def _table(self, indices: range, heads: Sequence[str], label_width: int) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False, show_edge=False)
        table.add_column("entrant", no_wrap=True)
        # Cells are padded on the left, since rich strips the spaces at the end, which align the values.
        widths = {index: max(map(len, (*heads[index].split("\n"), *self.datasets[index].texts))) for index in indices}
        for index in indices:
            lines = heads[index].split("\n")
            table.add_column(Text("\n".join(line.rjust(widths[index]) for line in lines)), no_wrap=True)
        for row, label in enumerate(self.entrants.texts):
            texts = [self.datasets[index].texts[row].rjust(widths[index]) for index in indices]
            styled = [Text(text, self.styles[index][row]) for index, text in zip(indices, texts, strict=True)]
            table.add_row(Text(cells.fold_label(label, label_width)), *styled)
        return table


def text_summary(results: Results) -> TextSummary | None:
    """Return the summary of a board; ``None`` if fewer than two datasets have values."""
    gains = heat_map(results)
    if len(gains.columns) < 2 or not gains.rows:
        return None
    name = results.names.entrant
    over = "the noisy images" if gains.baseline is None else name(gains.baseline)
    names = [name(row.entrant) for row in gains.rows]
    if gains.has_optimum:
        names.append("best possible" + (" (or bound)" if any(column.is_bound for column in gains.columns) else ""))
    columns = []
    styles = []
    for index, column in enumerate(gains.columns):
        cells_of_column = [row.cells[index] for row in gains.rows]
        ranks = [cells.rank(cell.rank, cell.rank_high, cell.is_flagged).strip(cells.DASH) for cell in cells_of_column]
        values = [cell.gain for cell in cells_of_column]
        if gains.has_optimum:
            values.append(column.optimum)
            ranks.append("")
        width = max(map(len, ranks), default=0)
        texts = [
            f"{cells.number(value.value, 1, sign=True)} {rank if value.is_known else '':<{width}}"
            for value, rank in zip(values, ranks, strict=True)
        ]
        columns.append(cells.plain_column(results.names.dataset(column.dataset), texts))
        styles.append([_style(cell) for cell in cells_of_column] + [""] * gains.has_optimum)
    return TextSummary(
        f"Gain over {over} in dB, and rank", cells.plain_column("entrant", names, is_text=True), columns, styles
    )


def _style(cell: GainCell) -> str:
    """Return the style of a gain: coloured if its interval excludes 0, dim if not, bold if its rank is 1."""
    weight = "bold " if cell.is_first else ""
    if not cell.step:
        return f"{weight}dim"
    share = abs(cell.step) / (len(STEPS) + 1)
    colour = (round(255 + share * (end - 255)) for end in (_GAIN if cell.step > 0 else _LOSS))
    return f"{weight}black on rgb({','.join(map(str, colour))})"
