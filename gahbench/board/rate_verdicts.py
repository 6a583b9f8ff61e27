"""Verdicts on rates: whether a denoiser is near-optimal, not near-optimal, or undecided, and why.

D = 10 log10(MSE / bound) is the distance of a denoiser from the optimum, or from a bound on it, at a noise level. If
the denoiser has the optimal rate, D does not grow as noise fades: its slope against input PSNR is 0. If it has the rate
of wavelets, the slope is alpha/(alpha+1) - 1/2. A slope over all noise levels is not a test, since D may be large at
both ends and still have slope 0, and since pixels bend every curve. So D is evaluated over collapsed levels
(:func:`gahbench.board.rate_curves.collapsed_levels`), in epsilon = sigma / side, and a denoiser is

- **near-optimal** if, over at least :data:`MIN_SPAN` dB of neighbouring levels at which both the bound and the denoiser
  have collapsed, the interval of the slope of D lies within ±(alpha/(alpha+1) - 1/2)/2, D deviates from its
  mean by at most :data:`MAX_DEVIATION` dB, and twice the training changes D by less than :data:`MAX_CHANGE` dB;
- **not near-optimal** if, over at least :data:`MIN_SPAN` dB of levels at which the bound has collapsed, the interval of
  the slope lies outside that range, or the deviation is significantly larger; over a shorter span, if D varies by
  significantly more than twice :data:`MAX_DEVIATION`, which further levels cannot reduce;
- **undecided** otherwise.

The verdict needs alpha > 1, since wavelets are optimal at alpha = 1. Intervals are over images and training seeds
(:mod:`gahbench.board.statistics`); the intervals of deviations are simultaneous over levels.
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

#: The minimal span of the levels, in decibels of input PSNR.
MIN_SPAN = 15.0
#: The largest accepted deviation of D from its mean, in dB.
MAX_DEVIATION = 1.0
#: Twice the training must change D by less than this, in dB.
MAX_CHANGE = 0.2
#: The rate of wavelets on images with edges, for any alpha.
WAVELET_RATE = 0.5
#: Spans that differ by less than this, in dB, are equal.
_ROUNDING = 1e-9


def longest_run(is_chosen: ArrayLike, epsilons: ArrayLike) -> slice:
    """Return the run of neighbouring chosen levels with the largest span; ties go to the lowest levels."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(is_chosen, dtype=np.int8), [0]])))
    runs = [slice(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]
    logs = np.log(np.asarray(epsilons, dtype=np.float64))
    return max(runs, key=lambda run: logs[run.stop - 1] - logs[run.start], default=slice(0, 0))


@dataclass(frozen=True, eq=False)
class DeficitCurve:
    """The distance D (S,) of a denoiser from a bound at S noise levels, with bootstrap draws (D, S).

    ``changes`` is the change of D under twice the training, in dB; ``why_not`` says why collapsed levels are unknown.
    """

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

    def within(self, is_chosen: NDArray[np.bool_]) -> Stretch:
        """Return the run of neighbouring chosen levels with the largest span."""
        return Stretch(self, longest_run(is_chosen, self.epsilons))


@dataclass(frozen=True, eq=False)
class Stretch:
    """A run of neighbouring levels of a curve."""

    curve: DeficitCurve
    levels: slice

    @property
    def epsilons(self) -> Array:
        """The levels as epsilon, ascending."""
        return self.curve.epsilons[self.levels]

    @property
    def span(self) -> float:
        """The span from the first to the last level in dB; 0 with fewer than two levels."""
        return float(np.ptp(input_psnr(self.epsilons))) if len(self.epsilons) else 0.0

    @property
    def is_enough(self) -> bool:
        """Whether there are enough levels, over a large enough span, to determine a rate."""
        return len(self.epsilons) >= MIN_LEVELS and self.span >= MIN_SPAN - _ROUNDING

    @property
    def slope(self) -> Interval:
        """The slope of D against input PSNR, in dB per dB; positive if the denoiser falls behind as noise fades."""
        if len(self.epsilons) < 2:
            return UNKNOWN
        x = input_psnr(self.epsilons)
        return estimate(fit_slope(x, self.curve.deficits[self.levels]), fit_slope(x, self.curve.draws[:, self.levels]))

    @property
    def deviation(self) -> Interval:
        """The largest deviation of D from its mean, in dB."""
        return _largest_interval(*self._deviations()) if len(self.epsilons) else UNKNOWN

    @property
    def half_range(self) -> Interval:
        """Half the range of D over levels, in dB: the smallest maximum deviation that any constant can have."""
        if not len(self.epsilons):
            return UNKNOWN
        deviations, width = self._deviations()
        ends = [(deviations + sign * width).max() - (deviations - sign * width).min() for sign in (0, -1, 1)]
        return Interval(*(max(0.0, float(end)) / 2 for end in ends))

    @property
    def change(self) -> Interval:
        """The largest change of D under twice the training, in dB; NaN if unknown."""
        changes, draws = self.curve.changes, self.curve.change_draws
        if changes is None or draws is None or not len(self.epsilons):
            return UNKNOWN
        changes_here = changes[self.levels]
        return _largest_interval(changes_here, simultaneous_half_widths(changes_here, draws[:, self.levels]))

    def _deviations(self) -> tuple[Array, Array]:
        """Return deviations of D from its mean, and half widths of their simultaneous intervals, each of shape (K,)."""
        deficits, draws = self.curve.deficits[self.levels], self.curve.draws[:, self.levels]
        deviations = deficits - deficits.mean()
        return deviations, simultaneous_half_widths(deviations, draws - draws.mean(axis=1, keepdims=True))


def _largest_interval(values: Array, width: Array) -> Interval:
    """Return the largest absolute value with its interval, given half widths of simultaneous intervals."""
    magnitudes = np.abs(values)
    ends = np.maximum(magnitudes - width, 0).max(), (magnitudes + width).max()
    return Interval(float(magnitudes.max()), *map(float, ends))


@dataclass(frozen=True)
class RateVerdict:
    """The answer to whether a denoiser reaches the optimal rate, and the numbers behind it."""

    answer: Answer
    reasons: tuple[str, ...]
    slope: Interval = UNKNOWN
    deviation: Interval = UNKNOWN
    epsilons: tuple[float, ...] = ()
    span: float = 0.0


def judge(curve: DeficitCurve, optimal_slope: float) -> RateVerdict:
    """Decide whether a denoiser reaches the optimal rate."""
    if math.isnan(optimal_slope):
        return RateVerdict("undecided", ("the optimal rate is not known",))
    if optimal_slope <= WAVELET_RATE:
        return RateVerdict("undecided", (f"the optimal rate {optimal_slope:.2f} is not above that of wavelets, 0.50",))
    if curve.why_not:
        return RateVerdict("undecided", (curve.why_not,))
    tolerance = (optimal_slope - WAVELET_RATE) / 2
    bound_stretch, common_stretch = curve.within(curve.known), curve.within(curve.known & curve.own_collapsed)
    if objections := _objections(bound_stretch, tolerance):
        return _verdict("not near-optimal", objections, bound_stretch)
    if gaps := _missing_evidence(bound_stretch, common_stretch, tolerance):
        return _verdict("undecided", gaps, bound_stretch)
    return _verdict(
        "near-optimal", (f"slope of D {_format(common_stretch.slope)} within ±{tolerance:.2f}",), common_stretch
    )


def _objections(stretch: Stretch, tolerance: float) -> tuple[str, ...]:
    """Return the reasons, if any, why the rate is not optimal."""
    objections = []
    slope, deviation = stretch.slope, stretch.deviation if stretch.is_enough else stretch.half_range
    if stretch.is_enough and (slope.low > tolerance or slope.high < -tolerance):
        objections.append(f"slope of D {_format(slope)}, outside ±{tolerance:.2f}")
    if deviation.low > MAX_DEVIATION:
        subject = "deviates from its mean" if stretch.is_enough else "deviates from any mean"
        objections.append(f"D {subject} by {_format(deviation, '')} dB, more than {MAX_DEVIATION:g}")
    return tuple(objections)


def _missing_evidence(bound_stretch: Stretch, common_stretch: Stretch, tolerance: float) -> tuple[str, ...]:
    """Return the reasons, if any, why the verdict cannot be near-optimal."""
    if not bound_stretch.is_enough:
        return (f"the bound has collapsed at {_describe(bound_stretch)}; {_requirement()}",)
    if not common_stretch.is_enough:
        return (f"bound and denoiser have both collapsed at {_describe(common_stretch)}; {_requirement()}",)
    gaps = []
    slope, deviation, change = common_stretch.slope, common_stretch.deviation, common_stretch.change
    if not math.isfinite(slope.low):
        gaps.append("there are too few images for intervals")
    elif slope.low < -tolerance or slope.high > tolerance:
        gaps.append(f"slope of D {_format(slope)}: the interval is not within ±{tolerance:.2f}")
    if deviation.high > MAX_DEVIATION:
        gaps.append(f"D deviates from its mean by {_format(deviation, '')} dB: the interval exceeds {MAX_DEVIATION:g}")
    if common_stretch.curve.is_trained and not change.is_known:
        gaps.append("the effect of twice the training is unknown")
    elif common_stretch.curve.is_trained and not change.high < MAX_CHANGE:
        gaps.append(f"twice the training changes D by {_format(change, '')} dB: the interval exceeds {MAX_CHANGE:g}")
    return tuple(gaps)


def simultaneous_half_widths(values: Array, draws: Array) -> Array:
    """Return half widths of simultaneous intervals over levels, from the quantile of the largest t statistic."""
    errors = draws.std(axis=0)
    if not np.isfinite(errors).all():
        return np.full(len(values), np.nan)
    scale = np.where(errors > 0, errors, 1.0)
    largest = (np.abs(draws - values) / scale).max(axis=1)
    return np.asarray(errors * float(np.quantile(largest, LEVEL)))


def _verdict(answer: Answer, reasons: tuple[str, ...], stretch: Stretch) -> RateVerdict:
    epsilons = tuple(map(float, stretch.epsilons))
    return RateVerdict(answer, reasons, stretch.slope, stretch.deviation, epsilons, stretch.span)


def _describe(stretch: Stretch) -> str:
    count = len(stretch.epsilons)
    return f"{count} level{'' if count == 1 else 's'}, which span {stretch.span:.1f} dB" if count else "no level"


def _requirement() -> str:
    return f"at least {MIN_LEVELS} levels that span {MIN_SPAN:g} dB are needed"


def _format(interval: Interval, sign: str = "+") -> str:
    ends = "" if math.isnan(interval.low) else f" [{interval.low:{sign}.2f}, {interval.high:{sign}.2f}]"
    return f"{interval.value:{sign}.2f}{ends}".replace("-", "−")
