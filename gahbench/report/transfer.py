"""The transfer gap as a table and sentences: PSNR under recorded noise minus PSNR under drawn noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from gahbench._util.readable import level_name
from gahbench.report.cells import DASH, Column, format_interval, number, plain_column, value_column

if TYPE_CHECKING:
    from gahbench.board.display_names import DisplayNames
    from gahbench.board.transfer import Transfer

#: Explanations of the table and the figure.
MEANING = (
    "The transfer gap is the PSNR under recorded noise minus the PSNR under white Gaussian noise of equal strength, on "
    "the same images; ± is over images. In figures of the PSNR, a tick shows the value under drawn noise."
)
#: Correlations above this are worth an explanation: chance gives about 0.01 on an image of 100x100 pixels.
_NOTABLE = 0.05


def transfer_columns(transfer: Transfer, names: DisplayNames) -> list[Column]:
    """Return the columns of the table of a dataset."""
    rows = transfer.rows

    def rank(value: int | None) -> str:
        return DASH if value is None else str(value)

    return [
        plain_column("entrant", [names.entrant(row.entrant) for row in rows], is_text=True),
        value_column("PSNR, recorded", [row.recorded for row in rows]),
        value_column("PSNR, drawn", [row.drawn for row in rows]),
        value_column("transfer gap", [row.gap for row in rows], sign=True),
        plain_column("rank, recorded", [rank(row.recorded_rank) for row in rows]),
        plain_column("rank, drawn", [rank(row.drawn_rank) for row in rows]),
    ]


def transfer_title(transfer: Transfer) -> str:
    """Return the title of the table of a dataset."""
    return f"Transfer from drawn to recorded noise at σ = {level_name(transfer.sigma)}, PSNR in dB"


def transfer_lines(transfer: Transfer) -> Iterator[str]:
    """Yield sentences on the order of entrants and on the correlation of the noise."""
    tau = transfer.rank_correlation
    if tau.is_known:
        yield (
            "The order of practical entrants under recorded and under drawn noise has the rank correlation "
            f"{_with_ends(tau.value, tau.low, tau.high)} (Kendall's τ): {transfer.exchanged} of {transfer.pairs} pairs "
            "change places."
        )
    neighbours = {direction: values[0] for direction, values in transfer.correlations.items() if values}
    if neighbours:
        parts = " and ".join(
            f"{format_interval(value)} for neighbours in {'a row' if direction == 'columns' else 'a column'}"
            for direction, value in neighbours.items()
        )
        is_white = all(abs(value.value) < _NOTABLE for value in neighbours.values())
        verdict = (
            "as for white noise" if is_white else "so denoisers for white noise take it for structure of the image"
        )
        yield f"The correlation of the recorded noise is {parts}, {verdict}."


def _with_ends(value: float, low: float, high: float) -> str:
    ends = f" [{number(low)}, {number(high)}]" if np.isfinite([low, high]).all() else ""
    return f"{number(value)}{ends}"
