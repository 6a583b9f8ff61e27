"""The summary of a board: gains of entrants on every dataset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gahbench.board.estimates import Entry, Estimates
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.board.statistics import UNKNOWN, Interval
from gahbench.evaluation.rates import input_psnr
from gahbench.report.cells import count

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: Gains over a baseline in dB, by absolute value, at which the colour of a cell becomes one step stronger. The steps
#: are the same on all boards.
STEPS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
#: Steps of gains over the noisy images are larger by this factor.
_NOISY_SCALE = 3.0
#: The kinds of entrants that bound what is possible, and have rows of their own.
_OPTIMA = ("optimal", "bound")


@dataclass(frozen=True)
class GainCell:
    """The gain of an entrant on a dataset, in dB, and its interval of ranks; unknown values are NaN or ``None``.

    ``scale`` multiplies the steps of the colour.
    """

    gain: Interval
    rank: int | None = None
    rank_high: int | None = None
    is_flagged: bool = False
    scale: float = 1.0

    @property
    def is_decided(self) -> bool:
        """Whether the interval of the gain is known and does not contain 0."""
        return self.gain.excludes_zero

    @property
    def is_first(self) -> bool:
        """Whether the interval of ranks contains only rank 1."""
        return self.rank == self.rank_high == 1

    @property
    def step(self) -> int:
        """The signed step of the colour, from −8 to 8; 0 if the gain is unknown or not decided."""
        if not self.is_decided:
            return 0
        steps = 1 + int(np.searchsorted(STEPS, abs(self.gain.value) / self.scale, side="right"))
        return steps if self.gain.value > 0 else -steps


@dataclass(frozen=True)
class GainRow:
    """The gains of an entrant, a cell for each dataset, and a note on the entrant: its size or its kind."""

    entrant: str
    note: str
    cells: Sequence[GainCell]


@dataclass(frozen=True)
class GainColumn:
    """A dataset: the PSNR of the baseline, and the gain of the optimum or of a bound if either is known."""

    dataset: str
    baseline_psnr: Interval
    optimum: Interval
    is_bound: bool


@dataclass(frozen=True)
class HeatMap:
    """Gains of entrants (rows) on datasets (columns): the best entrants in practice first, then oracles.

    ``baseline`` is the label of the entrant that gains are measured against, or ``None`` if they are measured against
    the noisy images.
    """

    baseline: str | None
    columns: Sequence[GainColumn]
    rows: Sequence[GainRow]

    @property
    def has_optimum(self) -> bool:
        """Whether the optimum, or a bound, is known on any dataset."""
        return any(column.optimum.is_known for column in self.columns)


def heat_map(results: Results) -> HeatMap:
    """Return the gains of all entrants over the baseline, or over the noisy images if the suite has no baseline."""
    boards = [board for board in results.board.datasets if board.is_known("psnr")]
    baseline = results.baseline if any(board.is_known("gain_over_baseline") for board in boards) else None
    optima = {board.dataset: _optimum(results, board) for board in boards}
    hidden = {baseline, *(entry.entrant for entry in optima.values() if entry)}
    rows = {}
    for label in results.entrants:
        entries = [_entry(board, label) for board in boards]
        known = [entry for entry in entries if entry is not None]
        if label in hidden or not known or known[0].kind in _OPTIMA:
            continue
        cells = [_cell(board, entry, baseline) for board, entry in zip(boards, entries, strict=True)]
        if any(cell.gain.is_known for cell in cells):
            rows[label] = (known[0].kind, GainRow(label, _note(known), cells))

    def order(item: tuple[str, GainRow]) -> tuple[bool, int, float]:
        kind, row = item
        gains = [cell.gain.value for cell in row.cells if cell.gain.is_known]
        # Means over fewer datasets cannot be compared, so these entrants follow.
        return kind not in PRACTICAL_KINDS, -len(gains), -float(np.mean(gains))

    columns = [_column(board, baseline, optima[board.dataset]) for board in boards]
    return HeatMap(baseline, columns, [row for _, row in sorted(rows.values(), key=order)])


def gain_of(board: Estimates, entrant: str, baseline: str | None) -> Interval:
    """Return the gain of an entrant over the baseline, or over the noisy images, whose PSNR is constant."""
    if baseline is not None:
        return board.estimate(entrant, "gain_over_baseline")
    psnr = board.estimate(entrant, "psnr")
    noisy = float(input_psnr(board.sigmas).mean()) if board.sigmas else math.nan
    return Interval(psnr.value - noisy, psnr.low - noisy, psnr.high - noisy)


def _entry(board: Estimates, entrant: str) -> Entry | None:
    return next((entry for entry in board.entries if entry.entrant == entrant), None)


def _optimum(results: Results, board: Estimates) -> Entry | None:
    check = results.optimum_checks.get(board.dataset)
    return None if check is None else _entry(board, check.optimum)


def _cell(board: Estimates, entry: Entry | None, baseline: str | None) -> GainCell:
    if entry is None:
        return GainCell(UNKNOWN)
    scale = _NOISY_SCALE if baseline is None else 1.0
    return GainCell(gain_of(board, entry.entrant, baseline), entry.rank, entry.rank_high, bool(entry.flags), scale)


def _column(board: Estimates, baseline: str | None, optimum: Entry | None) -> GainColumn:
    noisy = Interval(float(input_psnr(board.sigmas).mean()) if board.sigmas else math.nan)
    return GainColumn(
        board.dataset,
        noisy if baseline is None else board.estimate(baseline, "psnr"),
        UNKNOWN if optimum is None else gain_of(board, optimum.entrant, baseline),
        optimum is not None and optimum.kind == "bound",
    )


def _note(entries: Sequence[Entry]) -> str:
    """Return the number of parameters of an entrant, which may depend on the dataset, or its kind."""
    sizes = sorted({entry.parameters for entry in entries if entry.parameters})
    if not sizes:
        return entries[0].kind
    ends = list(dict.fromkeys(count(size) for size in (sizes[0], sizes[-1])))
    return "–".join(ends)
