"""Whether denoisers reach the optimal rate: near-optimal, not near-optimal, or undecided, and why.

D = 10 log10(MSE / bound) is how far a denoiser is from the optimum, or from a bound on it, at a noise level. Where its
rate is the optimal one D does not grow as noise fades: its slope against input PSNR is 0, and alpha/(alpha+1) - 1/2
where the rate is that of wavelets. A slope over all noise levels is no test, since a D that is large at both ends has
slope 0 too, and since pixels bend every curve. So D is read over levels that have collapsed
(:func:`gahbench.board.rate_courses.collapsed_levels`), in epsilon = sigma / side, and a denoiser is

- **near-optimal** if over :data:`MIN_SPAN` dB or more of neighbouring levels at which both the bound and the denoiser
  have collapsed the interval of the slope of D lies within half of alpha/(alpha+1) - 1/2 of 0, D deviates from its
  mean by :data:`MAX_DEVIATION` dB at most, and twice the training moves it by less than :data:`MAX_CHANGE` dB;
- **not near-optimal** if over so many levels at which the bound has collapsed the interval of the slope lies outside,
  or the deviation is larger, beyond chance; over fewer, if D varies by more than twice the deviation that is accepted,
  which no further level can mend;
- else **undecided**.

It needs alpha > 1: at alpha = 1 wavelets are optimal. Intervals are over images and training seeds
(:mod:`gahbench.board.statistics`), those of the deviation simultaneous for all levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench.board.statistics import LEVEL, UNKNOWN, Array, Interval, estimate
from gahbench.evaluation.rates import MIN_LEVELS, fit_slope, input_psnr

Answer = Literal["near-optimal", "not near-optimal", "undecided"]

#: Decibels of noise that the levels span at least.
MIN_SPAN = 15.0
#: Decibels by which D may deviate from its mean.
MAX_DEVIATION = 1.0
#: Decibels by which twice the training moves D, at most.
MAX_CHANGE = 0.2
#: The rate of wavelets on images with edges.
WAVELET_RATE = 0.5
#: Spans and intervals that differ by less are equal.
_ROUNDING = 1e-9


def longest_run(chosen: ArrayLike, epsilons: ArrayLike) -> slice:
    """Return the neighbouring levels that are all chosen and span the most decibels, of several the lowest."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(chosen, dtype=np.int8), [0]])))
    runs = [slice(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]
    logs = np.log(np.asarray(epsilons, dtype=np.float64))
    return max(runs, key=lambda run: logs[run.stop - 1] - logs[run.start], default=slice(0, 0))


@dataclass(frozen=True, eq=False)
class DeficitCurve:
    """The distance D of a denoiser from a bound, level by level."""

    epsilons: Array
    deficits: Array
    draws: Array
    bound_collapsed: NDArray[np.bool_]
    own_collapsed: NDArray[np.bool_]
    is_trained: bool = False
    changes: Array | None = None
    change_draws: Array | None = None
    why_not: str = ""

    @property
    def known(self) -> NDArray[np.bool_]:
        """Levels at which the bound has collapsed and D is known, shape (S,)."""
        return np.asarray(self.bound_collapsed & np.isfinite(self.deficits))

    def within(self, chosen: NDArray[np.bool_]) -> Stretch:
        """Return the neighbouring levels, of those chosen, that span the most decibels."""
        return Stretch(self, longest_run(chosen, self.epsilons))


@dataclass(frozen=True, eq=False)
class Stretch:
    """Neighbouring levels of a course."""

    course: DeficitCurve
    levels: slice

    @property
    def epsilons(self) -> Array:
        """The levels, ascending."""
        return self.course.epsilons[self.levels]

    @property
    def span(self) -> float:
        """Decibels from the first to the last level; 0 for one level or none."""
        return float(np.ptp(input_psnr(self.epsilons))) if len(self.epsilons) else 0.0

    @property
    def is_enough(self) -> bool:
        """Whether a rate can be read over it."""
        return len(self.epsilons) >= MIN_LEVELS and self.span >= MIN_SPAN - _ROUNDING

    @property
    def slope(self) -> Interval:
        """Slope of D against input PSNR, in dB per dB: above 0 where the denoiser falls behind as noise fades."""
        if len(self.epsilons) < 2:
            return UNKNOWN
        x = input_psnr(self.epsilons)
        return estimate(
            fit_slope(x, self.course.deficits[self.levels]), fit_slope(x, self.course.draws[:, self.levels])
        )

    @property
    def deviation(self) -> Interval:
        """The largest deviation of D from its mean, in dB."""
        return _largest(*self._band()) if len(self.epsilons) else UNKNOWN

    @property
    def half_range(self) -> Interval:
        """Half of the largest difference of D between levels, in dB: no mean deviates less from all."""
        if not len(self.epsilons):
            return UNKNOWN
        middle, width = self._band()
        ends = [(middle + sign * width).max() - (middle - sign * width).min() for sign in (0, -1, 1)]
        return Interval(*(max(0.0, float(end)) / 2 for end in ends))

    @property
    def change(self) -> Interval:
        """The largest change of D by twice the training, in dB; NaN where it is not known."""
        changes, draws = self.course.changes, self.course.change_draws
        if changes is None or draws is None or not len(self.epsilons):
            return UNKNOWN
        middle = changes[self.levels]
        return _largest(middle, simultaneous(middle, draws[:, self.levels]))

    def _band(self) -> tuple[Array, Array]:
        """Return deviations of D from its mean, and half the width of their simultaneous intervals, shape (K,)."""
        found, draws = self.course.deficits[self.levels], self.course.draws[:, self.levels]
        middle = found - found.mean()
        return middle, simultaneous(middle, draws - draws.mean(axis=1, keepdims=True))


def _largest(middle: Array, width: Array) -> Interval:
    """Return the largest absolute value, given half the widths of simultaneous intervals."""
    off = np.abs(middle)
    return Interval(float(off.max()), float(np.maximum(off - width, 0).max()), float((off + width).max()))


@dataclass(frozen=True)
class RateVerdict:
    """Whether a denoiser reaches the optimal rate."""

    answer: Answer
    reasons: tuple[str, ...]
    slope: Interval = UNKNOWN
    deviation: Interval = UNKNOWN
    epsilons: tuple[float, ...] = ()
    span: float = 0.0


def judge(course: DeficitCurve, optimal_slope: float) -> RateVerdict:
    """Return whether a denoiser reaches the optimal rate."""
    if math.isnan(optimal_slope):
        return RateVerdict("undecided", ("the optimal rate is not known",))
    if optimal_slope <= WAVELET_RATE:
        return RateVerdict("undecided", (f"the optimal rate {optimal_slope:.2f} is not above that of wavelets, 0.50",))
    if course.why_not:
        return RateVerdict("undecided", (course.why_not,))
    tolerance = (optimal_slope - WAVELET_RATE) / 2
    wide, narrow = course.within(course.known), course.within(course.known & course.own_collapsed)
    if against := _against(wide, tolerance):
        return _verdict("not near-optimal", against, wide)
    if missing := _missing(wide, narrow, tolerance):
        return _verdict("undecided", missing, wide)
    return _verdict("near-optimal", (f"slope of D {_written(narrow.slope)} within ±{tolerance:.2f}",), narrow)


def _against(wide: Stretch, tolerance: float) -> tuple[str, ...]:
    """Return what shows that the rate is not the optimal one."""
    found = []
    slope, deviation = wide.slope, wide.deviation if wide.is_enough else wide.half_range
    if wide.is_enough and (slope.low > tolerance or slope.high < -tolerance):
        found.append(f"slope of D {_written(slope)}, outside ±{tolerance:.2f}")
    if deviation.low > MAX_DEVIATION:
        what = "deviates from its mean" if wide.is_enough else "deviates from any mean"
        found.append(f"D {what} by {_written(deviation, '')} dB, more than {MAX_DEVIATION:g}")
    return tuple(found)


def _missing(wide: Stretch, narrow: Stretch, tolerance: float) -> tuple[str, ...]:
    """Return what is missing for it to be near-optimal."""
    if not wide.is_enough:
        return (f"the bound has collapsed over {_extent(wide)}; {_needed()}",)
    if not narrow.is_enough:
        return (f"bound and denoiser have collapsed over {_extent(narrow)}; {_needed()}",)
    found = []
    slope, deviation, change = narrow.slope, narrow.deviation, narrow.change
    if not math.isfinite(slope.low):
        found.append("there are no intervals, for want of images")
    elif slope.low < -tolerance or slope.high > tolerance:
        found.append(f"slope of D {_written(slope)}, not surely within ±{tolerance:.2f}")
    if deviation.high > MAX_DEVIATION:
        found.append(f"D deviates from its mean by {_written(deviation, '')} dB, not surely {MAX_DEVIATION:g} or less")
    if narrow.course.is_trained and not change.is_known:
        found.append("what twice the training does is not known")
    elif narrow.course.is_trained and not change.high < MAX_CHANGE:
        found.append(f"twice the training moves D by {_written(change, '')} dB, not surely less than {MAX_CHANGE:g}")
    return tuple(found)


def simultaneous(middle: Array, draws: Array) -> Array:
    """Return half the widths of intervals that hold at all levels at once, by the largest of their t statistics."""
    errors = draws.std(axis=0)
    if not np.isfinite(errors).all():
        return np.full(len(middle), np.nan)
    scale = np.where(errors > 0, errors, 1.0)
    largest = (np.abs(draws - middle) / scale).max(axis=1)
    return np.asarray(errors * float(np.quantile(largest, LEVEL)))


def _verdict(answer: Answer, reasons: tuple[str, ...], read: Stretch) -> RateVerdict:
    epsilons = tuple(map(float, read.epsilons))
    return RateVerdict(answer, reasons, read.slope, read.deviation, epsilons, read.span)


def _extent(stretch: Stretch) -> str:
    count = len(stretch.epsilons)
    return f"{count} level{'' if count == 1 else 's'}, {stretch.span:.1f} dB" if count else "no level"


def _needed() -> str:
    return f"{MIN_LEVELS} that span {MIN_SPAN:g} dB are needed"


def _written(found: Interval, sign: str = "+") -> str:
    ends = "" if math.isnan(found.low) else f" [{found.low:{sign}.2f}, {found.high:{sign}.2f}]"
    return f"{found.value:{sign}.2f}{ends}".replace("-", "−")
