"""Intervals over test images and training seeds.

Every entrant of a dataset is measured on the same images under the same noise. So units, which are images or sources of
images, are resampled once for all entrants, with a fixed generator that depends only on their number: the difference of
two entrants' draws is a draw of their paired difference, in which the difficulty of an image cancels. Units of equal
index are resampled together in all arrays with the same number of units, because datasets of one family may share
images or noise by index. Training seeds are a random effect (:mod:`gahbench.board.seed_effects`).

- **Means, and linear combinations of means**, such as paired differences and slopes, have studentised intervals
  (:meth:`SampledMeans.ends`), which are as asymmetric as skewed values require. Intervals of values that a metric
  declares as shares or positive (:class:`gahbench.Metric`) are on the logit and log scale, and stay in their range.
- **Other functions of means**, and comparisons of many means at once, use joint draws (:meth:`SampledMeans.draws`) and
  their percentiles. Each draw divides its deviations by sqrt(chi^2 / df), as a t statistic does, so that few units make
  intervals wide. These intervals are symmetric if values are skewed.

``python tests/bench/interval_coverage.py`` simulates the coverage. Limits of the intervals: with one seed for each
entrant, an interval describes these trained weights on other images, and says nothing about another training run. If
images and seeds interact, the interaction is counted twice, and intervals are too wide, by up to sqrt(2).

References
----------
Efron, Tibshirani, *An Introduction to the Bootstrap*, 1993, section 12.5 (bootstrap-t) and 13.3 (percentile interval).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench.board.seed_effects import Spread, seed_effects, spreads_of_entrants

Array = NDArray[np.float64]

DRAWS = 2000
LEVEL = 0.95
#: With fewer independent images, or sources of images, there is no interval: t statistics of so few units would give
#: intervals many times as wide as the range of the values.
MIN_SOURCES = 5
#: The scale on which an interval is computed: logit for shares, log for positive values.
IntervalScale = Literal["linear", "log", "logit"]
#: Resampled variances are at least this share of the variance of all units. A resampling that draws almost only one of
#: five units has almost no variance: without the limit, intervals of skewed values would be three times as wide on
#: average, and contain the truth in 0.92 rather than 0.91 of cases.
MIN_RESAMPLED_VARIANCE = 0.02
#: Start of the seeds of random numbers for units, different from those for training seeds.
_STREAM = (0, 0)


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its 95 % interval; unknown numbers are NaN."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def is_known(self) -> bool:
        """Whether the value is known."""
        return not math.isnan(self.value)

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval is known and does not contain 0."""
        return self.low > 0 or self.high < 0


UNKNOWN = Interval(math.nan)


def estimate(value: ArrayLike, draws: ArrayLike) -> Interval:
    """Return a value with the percentile interval of its draws (D,)."""
    low, high = interval(draws)
    return Interval(float(np.asarray(value)), float(low), float(high))


def means(values: ArrayLike) -> Array:
    """Return the means over seeds and images of values (..., R, N), shape (...)."""
    array = np.asarray(values, dtype=np.float64)
    is_present = ~np.isnan(array)
    count = is_present.sum(axis=(-2, -1))
    total = np.where(is_present, array, 0.0).sum(axis=(-2, -1))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def with_mean(values: Array) -> Array:
    """Return values (..., S) at noise levels after their mean over levels, shape (..., S + 1)."""
    return np.concatenate([values.mean(axis=-1, keepdims=True), values], axis=-1)


@dataclass(frozen=True, eq=False)
class SampledMeans:
    """Means over units and training seeds, shape (...), with the samples that their intervals need.

    ``deviations`` holds, by their number U, the deviations of units from their mean, shape (U, ...); several entries
    are independent samples of units. ``effects`` holds D draws of the effects of training seeds, shape (D, ...).
    Deviations are NaN where too few units have values.
    """

    values: Array
    deviations: Mapping[int, Array]
    effects: Array

    def apply(self, function: Callable[[Array], Array], values: ArrayLike | None = None) -> SampledMeans:
        """Return a linear function of the means, which maps arrays along their last axes.

        With ``values``, the function is a linear approximation, and these are the values of the exact function.
        """
        return SampledMeans(
            np.asarray(function(self.values) if values is None else values, dtype=np.float64),
            {units: function(array) for units, array in self.deviations.items()},
            function(self.effects),
        )

    def at(self, indices: Sequence[int]) -> SampledMeans:
        """Return the means at indices of the last axis."""
        return self.apply(lambda array: array[..., list(indices)])

    def row(self, index: int) -> SampledMeans:
        """Return the means (..., S) of the entrant at an index, from means (..., E, S)."""
        return self.apply(lambda array: array[..., index, :])

    def draws(self) -> Array:
        """Return joint draws of the means, shape (D, ...), with the tails of t statistics; NaN without an interval."""
        count = len(self.effects)
        draws = self.values + self.effects
        for units, deviations in self.deviations.items():
            resampled = np.tensordot(resampling_weights(units, count), deviations, 1)
            generator = np.random.default_rng([*_STREAM, units, 1])
            # The factor sqrt(units) instead of sqrt(units - 1) corrects for the bootstrap variance, which divides by n.
            tails = np.sqrt(units / generator.chisquare(units - 1, size=count))
            draws = draws + (resampled.T * tails).T
        return draws

    def ends(self, scale: IntervalScale = "linear") -> tuple[Array, Array]:
        """Return the ends of studentised 95 % intervals, each of shape (...); NaN where unknown."""
        if scale == "linear":
            return interval(self.truths())
        # The scale itself makes intervals skewed, so t statistics are symmetric here.
        least = min(self.deviations, default=2)
        tails = np.random.default_rng([*_STREAM, least, 2]).standard_t(least - 1, size=len(self.effects))
        deviations = self.effects + np.multiply.outer(tails, np.sqrt(self.unit_variance))
        high = np.quantile(np.abs(deviations), LEVEL, axis=0)
        return _on_scale(self.values, -high, scale), _on_scale(self.values, high, scale)

    def truths(self, scale: IntervalScale = "linear") -> Array:
        """Return joint draws of the true values, shape (D, ...), whose percentiles are the ends of intervals."""
        if scale != "linear":
            # Deviations are symmetric here, as in :meth:`ends`.
            signs = np.random.default_rng([*_STREAM, 3]).choice([-1.0, 1.0], size=len(self.effects))
            return _on_scale(self.values, ((self.draws() - self.values).T * signs).T, scale)
        deviation, variance = np.zeros((2, *self.effects.shape))
        for units, deviations in self.deviations.items():
            weights = resampling_weights(units, len(self.effects))
            resampled, present = np.tensordot(weights, deviations, 1), (deviations != 0).sum(axis=0)
            deviation += resampled
            squares = np.tensordot(weights, deviations**2, 1) - resampled**2 * units / np.maximum(present, 1)
            variance += squares / (units - 1)
        divisor = np.maximum(variance, MIN_RESAMPLED_VARIANCE * self.unit_variance)
        # (resampled mean - mean) / standard error is distributed as (mean - truth) / standard error.
        ratio = deviation * np.sqrt(self.unit_variance / np.where(divisor > 0, divisor, 1.0))
        return np.asarray(self.values + self.effects - ratio)

    @cached_property
    def unit_variance(self) -> Array:
        """The variances of the means over units, without those over seeds, shape (...)."""
        variances = [(array**2).mean(axis=0) / (units - 1) for units, array in self.deviations.items()]
        return np.asarray(sum(variances, np.zeros(self.values.shape)))

    def intervals(self, scale: IntervalScale = "linear") -> list[Interval]:
        """Return the means, shape (K,), with their 95 % intervals."""
        columns = (self.values, *self.ends(scale))
        return [Interval(*map(float, row)) for row in zip(*columns, strict=True)]


def _on_scale(values: Array, deviation: Array, scale: IntervalScale) -> Array:
    """Return values plus deviations, to first order, on a scale on which intervals stay in the range of the values."""
    linear, is_inside = values + deviation, (values > 0) & ((values < 1) | (scale == "log"))
    inside = np.where(is_inside, values, 0.5)
    if scale == "log":
        moved = inside * np.exp(np.clip(deviation / inside, -700, 700))
    else:
        logit = np.log(inside / (1 - inside)) + deviation / (inside * (1 - inside))
        moved = 1 / (1 + np.exp(-np.clip(logit, -700, 700)))
    return np.where(is_inside, moved, linear)


def total(parts: Sequence[SampledMeans]) -> SampledMeans:
    """Return the sum of means; units of equal index are the same units where their numbers are equal."""
    return join(parts, lambda arrays: np.asarray(np.sum(arrays, axis=0)))


def join(parts: Sequence[SampledMeans], function: Callable[[Sequence[Array]], Array]) -> SampledMeans:
    """Return one array of means from several, by a function that sums arrays, or joins them along a last axis."""
    numbers = dict.fromkeys(units for part in parts for units in part.deviations)
    deviations = {
        units: function([part.deviations.get(units, np.zeros((units, *part.values.shape))) for part in parts])
        for units in numbers
    }
    values, effects = (function([getattr(part, name) for part in parts]) for name in ("values", "effects"))
    return SampledMeans(values, deviations, effects)


def divide(above: SampledMeans, below: SampledMeans, is_certain: bool = True) -> SampledMeans:
    """Return ratios of means of equal shape, with deviations to first order; NaN where a mean below is not positive.

    With ``is_certain``, they are also NaN where the interval of a mean below contains 0.
    """
    is_positive = (below.values > 0) & ~(is_certain & (below.ends()[0] <= 0))
    divisor = np.where(below.values > 0, below.values, np.nan)
    ratios = above.values / divisor
    linear = total([above.apply(lambda array: array / divisor), below.apply(lambda array: -array * ratios / divisor)])
    return linear.apply(lambda array: np.where(is_positive, array, np.nan), ratios)


def sampled_means(
    values: ArrayLike,
    draws: int = DRAWS,
    seed: int = 0,
    names: Sequence[str] | None = None,
    spreads: Mapping[str, Spread] | None = None,
    sources: Sequence[int] | None = None,
    relative: bool | None = None,
    excluded: Collection[str] = (),
) -> SampledMeans:
    """Return the means over seeds and images of values (E, ..., R, N), NaN where missing, shape (E, ...).

    Effects of training seeds with equal ``seed`` and ``names``, by default the indices of the E entrants, are equal.
    ``spreads`` are by default those in ``values``; images of one of ``sources`` are one unit; ``relative`` says whether
    variances over seeds are pooled relative to squared means, ``None`` to decide by the values; entrants that are
    ``excluded`` are left out of the pooled variance.
    """
    array = np.asarray(values, dtype=np.float64)
    _, groups = np.unique(np.arange(array.shape[-1]) if sources is None else np.asarray(sources), return_inverse=True)
    units, array_means = int(groups.max()) + 1, means(array)
    if units < MIN_SOURCES or array_means.size == 0:
        unknown = np.full((MIN_SOURCES, *array_means.shape), np.nan)
        return SampledMeans(array_means, {MIN_SOURCES: unknown}, np.zeros((draws, *array_means.shape)))
    names = [str(index) for index in range(len(array))] if names is None else names
    excluded_indices = [index for index, name in enumerate(names) if name in excluded]
    effects = seed_effects(means(array[..., None, :]), draws, seed, names, spreads, relative, excluded_indices)
    deviations = _unit_deviations(means(array.swapaxes(-1, -2)[..., None]), np.eye(units)[groups])
    return SampledMeans(array_means, {units: deviations}, effects)


def seed_spreads(arrays: Iterable[tuple[ArrayLike, Sequence[str]]]) -> dict[str, Spread]:
    """Return the spread over seeds of each named entrant that has one, averaged over the values of datasets."""
    averages: dict[str, Spread] = {}
    for values, names in arrays:
        by_seed = means(np.asarray(values, dtype=np.float64)[..., None, :])
        for name, own in zip(names, spreads_of_entrants(by_seed), strict=True):
            ratio, dof = averages.get(name, Spread())
            if own.dof:
                averages[name] = Spread((ratio * dof + own.ratio * own.dof) / (dof + own.dof), dof + own.dof)
    return averages


def _unit_deviations(by_image: Array, membership: Array) -> Array:
    """Return the deviations of units, shape (U, ...), from the mean of values (..., N), which is a ratio of totals.

    ``membership`` (N, U) is 1 where an image belongs to a unit. Units without a value have the deviation 0; the other
    deviations are larger for it, so that the variance of the mean is that of units with values.
    """
    is_present = ~np.isnan(by_image)
    deviations = np.where(is_present, by_image - means(by_image[..., None, :])[..., None], 0.0)
    units, images = membership.shape[1], np.maximum(is_present.sum(axis=-1), 1)
    has_value = np.moveaxis(is_present.astype(np.float64) @ membership > 0, -1, 0)
    present = has_value.sum(axis=0)
    enlarged = np.sqrt(present * (units - 1) / units / np.maximum(present - 1, 1)) * units / images
    by_unit = np.moveaxis(deviations @ membership, -1, 0) * enlarged
    # A unit at the mean has a tiny deviation, since 0 stands for a missing value; equal units have no variance.
    by_unit[has_value & (by_unit == 0) & by_unit.any(axis=0)] = np.finfo(np.float64).tiny
    return np.where((present >= MIN_SOURCES) | (present == 0), by_unit, np.nan)


def interval(draws: ArrayLike, level: float = LEVEL) -> tuple[Array, Array]:
    """Return the percentile interval of draws (D, ...): lower and upper ends, each of shape (...)."""
    array = np.asarray(draws, dtype=np.float64)
    is_known = ~np.isnan(array).all(axis=0)
    # Columns without any value are set to 0, since nanquantile warns about them.
    tail = (1 - level) / 2
    low, high = np.nanquantile(np.where(is_known, array, 0.0), [tail, 1 - tail], axis=0)
    return np.where(is_known, low, np.nan), np.where(is_known, high, np.nan)


def simultaneous_intervals(values: ArrayLike, draws: ArrayLike) -> tuple[Array, Array]:
    """Return simultaneous intervals of values (M,) with draws (D, M): lower and upper ends, each of shape (M,)."""
    centres, array = np.asarray(values, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    is_known = np.isfinite(array).all(axis=0) & np.isfinite(centres)
    ends = np.full((2, len(centres)), np.nan)
    if is_known.any():
        centres, array = centres[is_known], array[:, is_known]
        # A value without variation has an interval of width 0.
        below, above = (
            np.maximum(sign * (end - centres), 0.0) for sign, end in zip((-1, 1), interval(array), strict=True)
        )
        half_widths = np.where(array < centres, below, above)
        scaled = np.abs(array - centres) / np.where(half_widths > 0, half_widths, np.inf)
        factor = max(1.0, float(np.quantile(scaled.max(axis=1), LEVEL)))
        ends[:, is_known] = centres - factor * below, centres + factor * above
    return ends[0], ends[1]


@lru_cache(maxsize=4)
def resampling_weights(size: int, draws: int) -> Array:
    """Return weights, shape (draws, size), of ``size`` units drawn with replacement; each row sums to 1.

    The array is read-only, since the next call returns the same array.
    """
    generator = np.random.default_rng([*_STREAM, size])
    weights = np.asarray(generator.multinomial(size, np.full(size, 1 / size), size=draws) / size)
    weights.flags.writeable = False
    return weights
