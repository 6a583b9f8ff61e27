"""Agreement of repeated computations with stored results.

In the same environment, scores of the same weights must be equal to the last bit. Other environments may sum in another
order and so round differently: there, the mean difference of each part of a metric may be up to :data:`TOLERANCE` times
the mean absolute value. This is four orders of magnitude above the rounding of one float32 operation, which a deep
network amplifies, and below the digits that a board shows.

Training amplifies rounding, too: a network that is trained again in another environment has different weights after a
few hundred steps. Its scores are compared with the stored scores as if another seed had been used, by the spread over
seeds.
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

#: Tolerated mean difference of scores between environments: relative to the mean absolute value, plus a term in
#: units of the metric.
TOLERANCE, ABSOLUTE_TOLERANCE = 1e-3, 1e-6
#: The probability that an honest fit, trained in another environment, is reported as different.
SIGNIFICANCE = 0.01
#: A row whose spread over seeds exceeds that of the median row by this factor is left out of the pooled spread.
OUTLIER_FACTOR = 10.0
#: The minimum degrees of freedom of a spread over seeds; with 3, a 99 % interval extends 5.8 standard deviations.
MIN_DOF = 3
_NUMBER = re.compile(r"[-+−]?\d+(\.\d+)?(e[-+]?\d+)?")

Agreement = Literal["equal", "close", "different", "failed"]
Rows = Sequence[tuple[float | None, int | None, float, str]]
#: Mean PSNR of a run at each noise level, and over all levels, shape (L + 1,).
Levels = NDArray[np.float64]


@dataclass(frozen=True)
class Repetition:
    """A unit that was computed again, and how its outcome compares with the stored outcome."""

    unit: Unit
    agreement: Agreement
    detail: str

    @property
    def repeats(self) -> bool:
        """Whether the repetition agrees with the stored result."""
        return self.agreement in ("equal", "close")


def find_missing_flag(stored: Iterable[str], computed: Iterable[str]) -> str | None:
    """Return a computed flag that is not stored; numbers in flags are ignored, since they depend on rounding."""
    known = {_NUMBER.sub("#", flag) for flag in stored}
    return next((flag for flag in computed if _NUMBER.sub("#", flag) not in known), None)


def compare(stored: Rows, computed: Rows, is_same_environment: bool) -> tuple[Agreement, str]:
    """Return how stored and computed rows of scores (sigma, image, value, part) agree, with a description."""
    before, now = ({(sigma, image, part): value for sigma, image, value, part in rows} for rows in (stored, computed))
    if len(before) != len(stored):
        return (
            "different",
            f"{len(stored)} values are stored for {len(before)} combinations of noise level, image and part",
        )
    if before.keys() != now.keys():
        return "different", f"{len(before)} values are stored, and {len(now)} others were computed"
    if before == now:
        return "equal", ""
    largest = max(abs(before[position] - now[position]) for position in before)
    if is_same_environment:
        return "different", f"by up to {largest:.2g}, in the same environment"
    error: dict[Any, float] = defaultdict(float)
    size: dict[Any, float] = defaultdict(float)
    count: dict[Any, int] = defaultdict(int)
    for position, value in before.items():
        part = position[2]
        error[part] += abs(value - now[position])
        size[part] += abs(value)
        count[part] += 1
    is_close = all(error[part] <= TOLERANCE * size[part] + ABSOLUTE_TOLERANCE * count[part] for part in count)
    return ("close" if is_close else "different"), f"by up to {largest:.2g}, in another environment"


@dataclass(frozen=True)
class Spread:
    """The standard deviations of PSNR over seeds, at each noise level and over all levels, with degrees of freedom."""

    deviations: Levels
    dof: int

    @classmethod
    def pool(cls, rows: Iterable[Sequence[Levels]], own: Sequence[Levels] = ()) -> Spread:
        """Return the spread of runs around the mean of their row, pooled over rows, and at least that of ``own``."""
        groups = [np.stack(row) for row in rows if len(row) > 1]
        if len(groups) > 2:
            # Outliers are found by a fixed factor, not by the quantile of gahbench.board.seed_effects, which lets
            # spreads of two seeds differ a hundredfold: the bounds would then accept forged fits.
            spreads = np.array([row.std(axis=0, ddof=1).max() for row in groups])
            usual = spreads <= OUTLIER_FACTOR * np.nanmedian(spreads)
            groups = [row for row, is_usual in zip(groups, usual, strict=True) if is_usual]
        groups = [row for row in groups if np.isfinite(row).all()]
        dof = sum(len(row) - 1 for row in groups)
        if not dof:
            return cls(np.zeros(1), 0)
        squares = sum(((row - row.mean(axis=0)) ** 2).sum(axis=0) for row in groups)
        deviations = np.sqrt(squares / dof)
        if len(own) > 1:
            deviations = np.maximum(deviations, np.stack(own).std(axis=0, ddof=1))
        return cls(deviations, dof)

    def bounds(self, runs: int, comparisons: int) -> Levels:
        """Return the allowed distance of one run from the mean of R others, t s sqrt(1 + 1 / R), shape (L + 1,), in dB.

        The significance level is corrected for the number of comparisons and noise levels (Bonferroni).
        """
        from scipy.stats import t

        tail = SIGNIFICANCE / (2 * comparisons * len(self.deviations))
        return np.asarray(t.ppf(1 - tail, self.dof) * self.deviations * (1 + 1 / runs) ** 0.5)


def mean_levels(rows: Rows) -> Levels:
    """Return the mean of a metric at each noise level, in ascending order, and over all levels."""
    values: dict[float, list[float]] = defaultdict(list)
    for sigma, _, value, part in rows:
        if sigma is not None and not part:
            values[sigma].append(value)
    means = [float(np.mean(values[sigma])) for sigma in sorted(values)]
    return np.array([*means, float(np.mean(means))])


def compare_retrained(
    stored: Levels, row: Sequence[Levels], computed: Sequence[Levels], others: Iterable[Sequence[Levels]]
) -> tuple[bool, str]:
    """Return whether the PSNR of a stored fit agrees with the PSNR of fits trained here, with a description."""
    if len(computed) > 1:
        spread = Spread.pool([*others, row, computed])
        comparisons = [
            (f"the mean of {len(computed)} seeds trained here", np.mean(computed, axis=0), stored, len(computed))
        ]
    else:
        # The stored fit is left out of the spread, since a forged fit would widen the bounds.
        spread = Spread.pool([*others, row], row)
        comparisons = [("the stored fit", stored, computed[0], 1)]
        if row:
            all_stored = [stored, *row]
            comparisons.append(
                (
                    f"the mean of {len(all_stored)} stored seeds",
                    np.mean(all_stored, axis=0),
                    computed[0],
                    len(all_stored),
                )
            )
    text = f"PSNR {computed[0][-1]:.2f} dB here and {stored[-1]:.2f} dB in the folder"
    for title, mean, run, runs in comparisons:
        bounds = spread.bounds(runs, len(comparisons))
        excess = np.abs(run - mean) - bounds
        if not (excess <= 0).all():
            level = int(np.nanargmax(excess)) if np.isfinite(excess).any() else -1
            return False, f"{text}: {abs(run - mean)[level]:.2f} dB from {title}, allowed: {bounds[level]:.2f} dB"
    allowed = spread.bounds(comparisons[0][3], len(comparisons))[-1]
    return True, f"{text}, allowed: {allowed:.2f} dB ({spread.dof} degrees of freedom)"
