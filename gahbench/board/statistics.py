"""Intervals over test images and training seeds.

Every entrant of a dataset is measured on the same images under the same noise. So units, which are images or sources of
images, are resampled once for all entrants, with a fixed generator that depends only on their number: the difference of
two entrants' draws is a draw of their paired difference, in which the difficulty of an image cancels. Units of equal
index are resampled together in all arrays with the same number of units, because datasets of one family may share
images or noise by index; if they do not, the covariance that this includes is 0 on average.

Training seeds are a random effect, whose variance is pooled over entrants (:mod:`gahbench.board.seed_effects`).

There are two kinds of intervals:

- **Means, and linear combinations of means**, such as paired differences, means over noise levels and slopes, have
  studentised intervals (:meth:`SampledMeans.ends`): the deviation of each resampled mean is divided by its own standard
  error. So intervals are as asymmetric as skewed values require. A metric declares which of its values are shares or
  positive (:class:`gahbench.Metric`): their intervals are on the logit and log scale, and stay in their range.
- **Other functions of means**, and comparisons of many means at once, use joint draws (:meth:`SampledMeans.draws`) and
  their percentiles. Each draw divides its deviations by sqrt(chi^2 / df), as a t statistic does, so that few units make
  intervals wide. These intervals are symmetric if values are skewed.

Coverage of studentised 95 % intervals in simulations (``python tests/bench/interval_coverage.py``): 0.95 for 5, 24 or
64 normal units; 0.91, 0.94 and 0.95 for 5, 24 and 64 units with the skewed distribution gamma(1/2). The coverage of
percentile intervals is 0.83 and 0.90 for 5 and 24 skewed units.

Limits of the intervals:

- With one seed for each entrant, an interval describes these trained weights on other images, and says nothing about
  another training run.
- If images and seeds interact, the interaction is counted twice, and intervals are too wide, by up to sqrt(2).
- Fewer than five independent units are too few to estimate a variance: draws and intervals are NaN.

References
----------
Efron, Tibshirani, *An Introduction to the Bootstrap*, 1993, section 12.5 (bootstrap-t) and 13.3 (percentile interval).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench.board.seed_effects import Spread, relative_variances, seed_effects

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
#: Deviations of units from the mean are at least this share of the largest, to distinguish them from missing values.
_SMALLEST_DEVIATION = 1e-9
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


def estimates(values: ArrayLike, draws: ArrayLike) -> list[Interval]:
    """Return values (K,) with the percentile intervals of their draws (D, K)."""
    columns = (np.asarray(values, dtype=np.float64), *interval(draws))
    return [Interval(*map(float, row)) for row in zip(*columns, strict=True)]


def means(values: ArrayLike) -> Array:
    """Return the means over seeds and images of values (..., R, N), shape (...)."""
    array = np.asarray(values, dtype=np.float64)
    is_present = ~np.isnan(array)
    count = is_present.sum(axis=(-2, -1))
    total = np.where(is_present, array, 0.0).sum(axis=(-2, -1))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


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
            weights = resampling_weights(units, count)
            resampled = (weights @ deviations.reshape(units, -1)).reshape(draws.shape)
            generator = np.random.default_rng([*_STREAM, units, 1])
            # The factor sqrt(units) instead of sqrt(units - 1) corrects for the bootstrap variance, which divides by n.
            tails = np.sqrt(units / generator.chisquare(units - 1, size=count))
            draws = draws + resampled * tails.reshape(count, *(1 for _ in self.values.shape))
        return draws

    def ends(self, scale: IntervalScale = "linear", level: float = LEVEL) -> tuple[Array, Array]:
        """Return the ends of studentised intervals, each of shape (...); NaN where unknown."""
        count = len(self.effects)
        if scale == "linear":
            low, high = interval(self.pivots().reshape(count, -1), level)
            return self._ends_on(scale, low), self._ends_on(scale, high)
        # The scale itself makes intervals skewed, so t statistics are symmetric here.
        min_units = min(self.deviations, default=2)
        tails = np.random.default_rng([*_STREAM, min_units, 2]).standard_t(min_units - 1, size=(count, 1))
        deviations = self.effects.reshape(count, -1) + tails * np.sqrt(self.unit_variance.ravel())
        half_width = np.quantile(np.abs(deviations), level, axis=0)
        return self._ends_on(scale, -half_width), self._ends_on(scale, half_width)

    def truths(self, scale: IntervalScale = "linear") -> Array:
        """Return joint draws of the true values, shape (D, ...), whose percentiles are the ends of intervals."""
        if scale == "linear":
            return self.values + self.pivots()
        deviations = self.draws() - self.values
        # The scale itself makes intervals skewed, so deviations are symmetric here, as in :meth:`ends`.
        signs = np.random.default_rng([*_STREAM, 3]).choice([-1.0, 1.0], size=len(deviations))
        return _on_scale(self.values, deviations * signs.reshape(-1, *(1 for _ in self.values.shape)), scale)

    def pivots(self) -> Array:
        """Return joint draws of truth minus mean, shape (D, ...), whose percentiles are studentised intervals."""
        count, size = len(self.effects), self.values.size
        deviation, resampled_variance = np.zeros((2, count, size))
        variance = self.unit_variance.ravel()
        for units, array in self.deviations.items():
            deviations = array.reshape(units, -1)
            present = _count_present(deviations)
            weights = resampling_weights(units, count)
            resampled = weights @ deviations
            deviation += resampled
            squares = weights @ deviations**2 - resampled**2 * (units / present)
            resampled_variance += squares / _divisor(deviations)
        bounded_variance = np.maximum(resampled_variance, MIN_RESAMPLED_VARIANCE * variance)
        # (resampled mean - mean) / standard error is distributed as (mean - truth) / standard error.
        ratio = deviation * np.sqrt(variance / np.where(bounded_variance > 0, bounded_variance, 1.0))
        return self.effects - ratio.reshape(self.effects.shape)

    @cached_property
    def unit_variance(self) -> Array:
        """The variances of the means over units, without those over seeds, shape (...)."""
        variance = np.zeros(self.values.size)
        for units, array in self.deviations.items():
            deviations = array.reshape(units, -1)
            variance += (deviations**2).mean(axis=0) / _divisor(deviations)
        return variance.reshape(self.values.shape)

    def _ends_on(self, scale: IntervalScale, deviation: Array) -> Array:
        """Return values plus deviations (M,) on a scale, in the shape of the values."""
        return _on_scale(self.values.ravel(), deviation, scale).reshape(self.values.shape)

    def intervals(self, scale: IntervalScale = "linear") -> list[Interval]:
        """Return the means, shape (K,), with their studentised intervals."""
        columns = (self.values, *self.ends(scale))
        return [Interval(*map(float, row)) for row in zip(*columns, strict=True)]


def _count_present(deviations: Array) -> Array:
    """Return the number of units with a value, shape (M,), at least 2; other units have the deviation 0."""
    size = np.abs(deviations)
    is_present = size > _SMALLEST_DEVIATION / 1000 * size.max(axis=0, initial=0.0)
    return np.asarray(np.maximum(is_present.sum(axis=0), 2), dtype=np.float64)


def _divisor(deviations: Array) -> Array:
    """Return the divisors, shape (M,), that turn mean squares of deviations (U, M) into variances of their means."""
    present = _count_present(deviations)
    return np.asarray(len(deviations) * (present - 1) / present)


def _on_scale(values: Array, deviation: Array, scale: IntervalScale) -> Array:
    """Return values plus deviations, to first order, on a scale on which intervals stay in the range of the values."""
    linear = values + deviation
    if scale == "log":
        positive = np.where(values > 0, values, 1.0)
        return np.where(values > 0, positive * np.exp(np.clip(deviation / positive, -700, 700)), linear)
    if scale == "logit":
        is_inside = (values > 0) & (values < 1)
        share = np.where(is_inside, values, 0.5)
        logit = np.log(share / (1 - share)) + deviation / (share * (1 - share))
        return np.where(is_inside, 1 / (1 + np.exp(-np.clip(logit, -700, 700))), linear)
    return linear


def total(parts: Sequence[SampledMeans]) -> SampledMeans:
    """Return the sum of means; units of equal index are the same units where their numbers are equal."""
    deviations: dict[int, Array] = {}
    for part in parts:
        for units, array in part.deviations.items():
            deviations[units] = deviations[units] + array if units in deviations else array
    values, effects = (np.sum([getattr(part, name) for part in parts], axis=0) for name in ("values", "effects"))
    return SampledMeans(values, deviations, effects)


def join(parts: Sequence[SampledMeans], function: Callable[[Sequence[Array]], Array]) -> SampledMeans:
    """Return one array of means from several, by a function that joins arrays along one of their last axes."""
    numbers = dict.fromkeys(units for part in parts for units in part.deviations)
    deviations = {
        units: function([part.deviations.get(units, np.zeros((units, *part.values.shape))) for part in parts])
        for units in numbers
    }
    values, effects = (function([getattr(part, name) for part in parts]) for name in ("values", "effects"))
    return SampledMeans(values, deviations, effects)


def divide(above: SampledMeans, below: SampledMeans) -> SampledMeans:
    """Return ratios of means of equal shape, with deviations to first order; NaN where a mean below may be 0."""
    is_positive = (below.values > 0) & ~(below.ends()[0] <= 0)
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
    """Return the means over seeds and images of values (E, ..., R, N), shape (E, ...).

    Parameters
    ----------
    values
        Values to average; NaN where missing.
    draws
        Number of draws.
    seed
        Seed of the random numbers of seed effects: effects with equal seeds and names are equal.
    names
        Names of the E entrants, which determine the random numbers of their seed effects; by default their indices.
    spreads
        Spread over seeds of each entrant (:func:`seed_spreads`); by default the spread in ``values``.
    sources
        Source of each of the N images; images of one source are one unit.
    relative
        Whether variances over seeds are pooled relative to squared means; ``None`` decides by the values.
    excluded
        Names of entrants that are left out of the pooled variance.
    """
    array = np.asarray(values, dtype=np.float64)
    entrants, leading_shape, images = array.shape[0], array.shape[:-2], array.shape[-1]
    _, groups = np.unique(np.arange(images) if sources is None else np.asarray(sources), return_inverse=True)
    units = int(groups.max()) + 1
    array_means = means(array)
    if units < MIN_SOURCES or 0 in leading_shape:
        unknown = np.full((MIN_SOURCES, *leading_shape), np.nan)
        return SampledMeans(array_means, {MIN_SOURCES: unknown}, np.zeros((draws, *leading_shape)))
    names = [str(index) for index in range(entrants)] if names is None else names
    excluded_indices = [index for index, name in enumerate(names) if name in excluded]
    effects = seed_effects(_means_over_images(array), draws, seed, names, spreads, relative, excluded_indices)
    deviations = _unit_deviations(means(array.swapaxes(-1, -2)[..., None]), groups, units)
    return SampledMeans(array_means, {units: deviations}, effects)


def seed_spreads(arrays: Mapping[str, tuple[ArrayLike, Sequence[str]]]) -> dict[str, Spread]:
    """Return the variance over seeds of each entrant relative to the pooled variance, averaged over datasets."""
    ratios: dict[str, list[Spread]] = {}
    for values, names in arrays.values():
        for index, spread in relative_variances(_means_over_images(np.asarray(values, dtype=np.float64))).items():
            ratios.setdefault(names[index], []).append(spread)
    return {name: Spread.average(own) for name, own in ratios.items()}


def _means_over_images(array: Array) -> Array:
    """Return the means over images, shape (E, ..., R), of values (E, ..., R, N)."""
    return means(array[..., None, :])


def _unit_deviations(by_image: Array, groups: NDArray[np.int64], units: int) -> Array:
    """Return the deviations of units, shape (U, ...), from the mean of values (..., N), which is a ratio of totals.

    Units without a value have the deviation 0; a unit at the mean has a tiny deviation instead.
    """
    is_present = ~np.isnan(by_image)
    centre = means(by_image[..., None, :])[..., None]
    deviations = np.where(is_present, by_image - np.where(np.isnan(centre), 0.0, centre), 0.0)
    membership = np.zeros((units, len(groups)))
    membership[groups, np.arange(len(groups))] = 1.0
    images = np.maximum(is_present.sum(axis=-1, keepdims=True), 1)
    by_unit = np.moveaxis(deviations @ membership.T * (units / images), -1, 0)
    has_value = np.moveaxis(is_present.astype(np.float64) @ membership.T > 0, -1, 0)
    smallest = _SMALLEST_DEVIATION * np.abs(by_unit).max(axis=0)
    by_unit = np.where(has_value & (np.abs(by_unit) < smallest), smallest, by_unit)
    present = has_value.sum(axis=0)
    return np.where((present >= MIN_SOURCES) | (present == 0), by_unit, np.nan)


def interval(draws: ArrayLike, level: float = LEVEL) -> tuple[Array, Array]:
    """Return the percentile interval of draws (D, ...): lower and upper ends, each of shape (...)."""
    array = np.asarray(draws, dtype=np.float64)
    is_known = ~np.isnan(array).all(axis=0)
    # Columns without any value are set to 0, since nanquantile warns about them.
    tail = (1 - level) / 2
    low, high = np.nanquantile(np.where(is_known, array, 0.0), [tail, 1 - tail], axis=0)
    return np.where(is_known, low, np.nan), np.where(is_known, high, np.nan)


def simultaneous_intervals(values: ArrayLike, draws: ArrayLike, level: float = LEVEL) -> tuple[Array, Array]:
    """Return simultaneous intervals of values (M,) with draws (D, M): lower and upper ends, each of shape (M,)."""
    centres, array = np.asarray(values, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    low, high = interval(array, level)
    is_known = np.isfinite(array).all(axis=0) & np.isfinite(centres)
    ends = np.full((2, len(centres)), np.nan)
    if not is_known.any():
        return ends[0], ends[1]
    deviations = array[:, is_known] - centres[is_known]
    # A value without variation has an interval of width 0.
    below = np.maximum(centres[is_known] - low[is_known], 0.0)
    above = np.maximum(high[is_known] - centres[is_known], 0.0)
    half_widths = np.where(deviations < 0, below, above)
    scaled = np.abs(deviations) / np.where(half_widths > 0, half_widths, np.inf)
    factor = max(1.0, float(np.quantile(scaled.max(axis=1), level)))
    ends[0, is_known], ends[1, is_known] = centres[is_known] - factor * below, centres[is_known] + factor * above
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
