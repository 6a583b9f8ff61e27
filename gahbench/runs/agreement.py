"""Agreement of repeated computations with stored results.

Scores of the same weights must be equal to the last bit in the same environment. Elsewhere sums are added up in another
order, and float32 rounds: the mean difference of each part of a metric may be :data:`TOLERANCE` of its mean size. That
is four orders of magnitude above the rounding of one operation, which a deep network makes larger, and below anything
that a board shows.

A network that is trained elsewhere has other weights after a few hundred steps, since training amplifies rounding. Its
scores are then those of another run, whose distance from other runs is estimated by how far seeds differ.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gahbench.contracts.unit import Unit

#: How far scores of another environment may be off: share of the mean size, and at least, in the metric's unit.
TOLERANCE, ABSOLUTE_TOLERANCE = 1e-3, 1e-6
#: The probability that an honest fit, trained in another environment, is reported as different.
SIGNIFICANCE = 0.01
#: A row whose seeds differ this many times as much as those of the median row is left out of the spread.
OUTLIER_FACTOR = 10.0
#: Degrees of freedom below which a spread over seeds says too little: with 3, 5.8 times the spread is within 1 %.
MIN_FREEDOM = 3
_NUMBER = re.compile(r"[-+−]?\d+(\.\d+)?(e[-+]?\d+)?")

Ending = Literal["equal", "close", "different", "failed"]
Rows = Sequence[tuple[float | None, int | None, float, str]]
#: Mean PSNR of a run at each noise level, and over all levels, shape (L + 1,).
Levels = NDArray[np.float64]


@dataclass(frozen=True)
class Repetition:
    """A unit that was computed again."""

    unit: Unit
    ending: Ending
    detail: str

    @property
    def repeats(self) -> bool:
        """Whether the repetition agrees with the stored result."""
        return self.ending in ("equal", "close")


def hidden_mark(stored: Iterable[str], found: Iterable[str]) -> str | None:
    """Return a mark found here that is not stored, ignoring numbers, which other environments round otherwise."""
    known = {_NUMBER.sub("#", mark) for mark in stored}
    return next((mark for mark in found if _NUMBER.sub("#", mark) not in known), None)


def compare(stored: Rows, computed: Rows, is_same_environment: bool) -> tuple[Ending, str]:
    """Return how stored and computed rows of scores (sigma, image, value, part) agree, and the difference in words."""
    before, now = ({(sigma, image, part): value for sigma, image, value, part in rows} for rows in (stored, computed))
    if len(before) != len(stored):
        return "different", f"{len(stored)} values are stored for {len(before)} places"
    if before.keys() != now.keys():
        return "different", f"{len(before)} values are stored, and {len(now)} others were computed"
    if before == now:
        return "equal", ""
    largest = max(abs(before[place] - now[place]) for place in before)
    if is_same_environment:
        return "different", f"by up to {largest:.2g}, in the same environment"
    off: dict[Any, float] = defaultdict(float)
    size: dict[Any, float] = defaultdict(float)
    count: dict[Any, int] = defaultdict(int)
    for place, value in before.items():
        part = place[2]
        off[part] += abs(value - now[place])
        size[part] += abs(value)
        count[part] += 1
    is_close = all(off[part] <= TOLERANCE * size[part] + ABSOLUTE_TOLERANCE * count[part] for part in count)
    return ("close" if is_close else "different"), f"by up to {largest:.2g}, in another environment"


@dataclass(frozen=True)
class Spread:
    """How far runs with different seeds differ."""

    deviations: Levels
    freedom: int

    @classmethod
    def pooled(cls, rows: Iterable[Sequence[Levels]], own: Sequence[Levels] = ()) -> Spread:
        """Return the spread of runs around the mean of their row, pooled over rows."""
        several = [np.stack(row) for row in rows if len(row) > 1]
        if len(several) > 2:
            # A fixed factor, not the quantile of gahbench.board.seed_effects, by which spreads of two seeds may differ
            # a hundredfold: bounds would allow forged fits.
            spreads = np.array([row.std(axis=0, ddof=1).max() for row in several])
            usual = spreads <= OUTLIER_FACTOR * np.nanmedian(spreads)
            several = [row for row, is_usual in zip(several, usual, strict=True) if is_usual]
        several = [row for row in several if np.isfinite(row).all()]
        freedom = sum(len(row) - 1 for row in several)
        if not freedom:
            return cls(np.zeros(1), 0)
        squares = sum(((row - row.mean(axis=0)) ** 2).sum(axis=0) for row in several)
        deviations = np.sqrt(squares / freedom)
        if len(own) > 1:
            deviations = np.maximum(deviations, np.stack(own).std(axis=0, ddof=1))
        return cls(deviations, freedom)

    def bounds(self, runs: int, comparisons: int) -> Levels:
        """Return how far one run may be from the mean of others, t s sqrt(1 + 1 / R), shape (L + 1,), in dB."""
        from scipy.stats import t

        tail = SIGNIFICANCE / (2 * comparisons * len(self.deviations))
        return np.asarray(t.ppf(1 - tail, self.freedom) * self.deviations * (1 + 1 / runs) ** 0.5)


def levels_of(rows: Rows) -> Levels:
    """Return the mean of a metric at each noise level, in their order, and over all of them."""
    values: dict[float, list[float]] = defaultdict(list)
    for sigma, _, value, part in rows:
        if sigma is not None and not part:
            values[sigma].append(value)
    means = [float(np.mean(values[sigma])) for sigma in sorted(values)]
    return np.array([*means, float(np.mean(means))])


def retrained(
    stored: Levels, row: Sequence[Levels], here: Sequence[Levels], others: Iterable[Sequence[Levels]]
) -> tuple[bool, str]:
    """Return whether the PSNR of a stored fit agrees with that of fits trained again elsewhere, and how in words."""
    if len(here) > 1:
        spread = Spread.pooled([*others, row, here])
        comparisons = [(f"the mean of {len(here)} seeds trained here", np.mean(here, axis=0), stored, len(here))]
    else:
        # The fit in question is left out: a forged fit would widen the bounds.
        spread = Spread.pooled([*others, row], row)
        comparisons = [("the stored fit", stored, here[0], 1)]
        if row:
            together = [stored, *row]
            comparisons.append(
                (f"the mean of {len(together)} stored seeds", np.mean(together, axis=0), here[0], len(together))
            )
    text = f"PSNR {here[0][-1]:.2f} dB here and {stored[-1]:.2f} dB in the folder"
    for title, mean, run, runs in comparisons:
        bounds = spread.bounds(runs, len(comparisons))
        excess = np.abs(run - mean) - bounds
        if not (excess <= 0).all():
            place = int(np.nanargmax(excess)) if np.isfinite(excess).any() else -1
            return False, f"{text}: {abs(run - mean)[place]:.2f} dB from {title}, allowed are {bounds[place]:.2f} dB"
    allowed = spread.bounds(comparisons[0][3], len(comparisons))[-1]
    return True, f"{text}, allowed are {allowed:.2f} dB ({spread.freedom} degrees of freedom)"
