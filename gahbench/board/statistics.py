"""Intervals over test images and training seeds.

Every entrant of a dataset is measured on the same images under the same noise. So images are resampled once for all
entrants, with a fixed generator that depends only on their number: the difference of two entrants' draws is a draw of
their paired difference, in which the difficulty of an image cancels.

Training seeds are a random effect, whose variance is pooled over entrants (:mod:`gahbench.board.seed_effects`).

Variances that are estimated from few units are uncertain. So each draw divides its deviations by sqrt(chi^2 / df), as a
t statistic does, once for images and once for seeds. Limits of the intervals:

- With one seed for each entrant, an interval describes these trained weights on other images, and says nothing about
  another training run.
- If images and seeds interact, the interaction is counted twice, and intervals are too wide, by up to sqrt(2).
- Fewer than five independent images, or sources of images, are too few to estimate a variance: draws and intervals are
  NaN.

References
----------
Efron, Tibshirani, *An Introduction to the Bootstrap*, 1993, section 13.3 (percentile interval).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench.board.seed_effects import relative_variances, seed_effects

Array = NDArray[np.float64]

DRAWS = 2000
LEVEL = 0.95
#: With fewer independent images, or sources of images, there is no interval: t statistics of so few units would give
#: intervals many times as wide as the range of the values.
MIN_SOURCES = 5

#: Number of the random stream, different from the stream for seeds.
_STREAM = 0


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


def bootstrap_means(
    values: ArrayLike,
    draws: int = DRAWS,
    seed: int = 0,
    names: Sequence[str] | None = None,
    spreads: Mapping[str, float] | None = None,
    sources: Sequence[int] | None = None,
    relative: bool | None = None,
    excluded: Collection[str] = (),
) -> Array:
    """Return bootstrap draws, shape (D, E, ...), of the means over seeds and images of values (E, ..., R, N)."""
    array = np.asarray(values, dtype=np.float64)
    entrants, leading_shape, images = array.shape[0], array.shape[:-2], array.shape[-1]
    _, groups = np.unique(np.arange(images) if sources is None else np.asarray(sources), return_inverse=True)
    if groups.max() + 1 < MIN_SOURCES or 0 in leading_shape:
        return np.full((draws, *leading_shape), np.nan)
    array_means = means(array)
    names = [str(index) for index in range(entrants)] if names is None else names
    by_image = means(array.swapaxes(-1, -2)[..., None])
    draws_of_means: Array = array_means + _image_deviations(by_image, groups, draws, seed)
    excluded_indices = [index for index, name in enumerate(names) if name in excluded]
    return draws_of_means + seed_effects(_by_seed(array), draws, seed, names, spreads, relative, excluded_indices)


def seed_spreads(arrays: Mapping[str, tuple[ArrayLike, Sequence[str]]]) -> dict[str, float]:
    """Return the variance over seeds of each entrant relative to the pooled variance, averaged over datasets."""
    ratios: dict[str, list[tuple[float, float]]] = {}
    for values, names in arrays.values():
        for index, pairs in relative_variances(_by_seed(np.asarray(values, dtype=np.float64))).items():
            ratios.setdefault(names[index], []).append(pairs)
    return {
        name: sum(ratio * freedom for ratio, freedom in pairs) / sum(freedom for _, freedom in pairs)
        for name, pairs in ratios.items()
    }


def _by_seed(array: Array) -> Array:
    """Return the means over images, shape (E, ..., R), of values (E, ..., R, N)."""
    return means(array[..., None, :])


def _image_deviations(by_image: Array, groups: NDArray[np.int64], draws: int, seed: int) -> Array:
    """Return deviations, shape (draws, ...), of resampled means of values (..., N), with the tails of t statistics."""
    leading_shape, images, units = by_image.shape[:-1], by_image.shape[-1], int(groups.max()) + 1
    weights = resampling_weights(units, draws, seed)[:, groups]
    is_present = ~np.isnan(by_image)
    total = weights @ np.where(is_present, by_image, 0.0).reshape(-1, images).T
    weight = weights @ is_present.reshape(-1, images).T.astype(np.float64)
    # Weights are multiples of 1 / units up to rounding, so the threshold separates 0 from 1 / units.
    has_weight = weight > 0.5 / units
    resampled_means = np.where(has_weight, total / np.where(has_weight, weight, 1.0), np.nan)
    generator = np.random.default_rng([seed, _STREAM, units, 1])
    # The factor sqrt(units) instead of sqrt(units - 1) corrects for the bootstrap variance, which divides by n.
    tails = np.sqrt(units / generator.chisquare(units - 1, size=draws))
    deviations = resampled_means.reshape(draws, *leading_shape) - means(by_image[..., None, :])
    return np.asarray(deviations * tails.reshape(draws, *(1 for _ in leading_shape)))


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


def resampling_weights(size: int, draws: int, seed: int = 0) -> Array:
    """Return weights, shape (draws, size), of ``size`` units drawn with replacement; each row sums to 1."""
    generator = np.random.default_rng([seed, _STREAM, size])
    counts = generator.multinomial(size, np.full(size, 1 / size), size=draws)
    return np.asarray(counts / size)
