"""Intervals over test images and training seeds.

Every entrant of a dataset is measured on the same images under the same noise. So the resamplings of images are drawn
once, from a fixed generator that depends on nothing but their number, and are shared by all entrants: the difference of
two entrants' draws is a draw of their paired difference, in which the difficulty of an image cancels.

Training seeds are a random effect, whose variance is pooled over entrants (:mod:`gahbench.board.seed_effects`).

Variances that are estimated from few units are too small as often as too large. Each draw divides deviations by
a sqrt(chi^2 / df), as a t statistic does, once for images and once for seeds. Limits of the intervals:

- With one seed everywhere, an interval says how far these trained weights would score otherwise on other images, and
  nothing about another training run.
- Where images and seeds interact, the interaction counts on both sides; intervals are then too wide, by up to sqrt(2).
- Fewer than five independent images, or sources of images, do not tell how far others would differ: draws and intervals
  are NaN.

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
#: Independent images, or sources of images, below which there is no interval over them: the t statistics of few would
#: give intervals many times as wide as the values differ.
MIN_SOURCES = 5

_IMAGES = 0  # stream of random numbers, apart from that of seeds


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its 95 % interval; NaN where one is not known."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def is_known(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)


UNKNOWN = Interval(math.nan)


def estimate(middle: ArrayLike, draws: ArrayLike) -> Interval:
    """Return a single value with the percentile interval of its draws (D,)."""
    low, high = interval(draws)
    return Interval(float(np.asarray(middle)), float(low), float(high))


def estimates(middle: ArrayLike, draws: ArrayLike) -> list[Interval]:
    """Return values (K,) with the percentile intervals of their draws (D, K)."""
    columns = (np.asarray(middle, dtype=np.float64), *interval(draws))
    return [Interval(*map(float, row)) for row in zip(*columns, strict=True)]


def means(values: ArrayLike) -> Array:
    """Return the means over seeds and images of values (..., R, N), shape (...)."""
    array = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(array)
    count = present.sum(axis=(-2, -1))
    total = np.where(present, array, 0.0).sum(axis=(-2, -1))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def bootstrap_means(
    values: ArrayLike,
    draws: int = DRAWS,
    seed: int = 0,
    names: Sequence[str] | None = None,
    spreads: Mapping[str, float] | None = None,
    sources: Sequence[int] | None = None,
    relative: bool | None = None,
    apart: Collection[str] = (),
) -> Array:
    """Return draws of the means over seeds and images, shape (D, E, ...), of values (E, ..., R, N)."""
    array = np.asarray(values, dtype=np.float64)
    entrants, lead, images = array.shape[0], array.shape[:-2], array.shape[-1]
    _, groups = np.unique(np.arange(images) if sources is None else np.asarray(sources), return_inverse=True)
    if groups.max() + 1 < MIN_SOURCES or 0 in lead:
        return np.full((draws, *lead), np.nan)
    middle = means(array)
    names = [str(place) for place in range(entrants)] if names is None else names
    by_image = means(array.swapaxes(-1, -2)[..., None])
    found: Array = middle + _image_deviations(by_image, groups, draws, seed)
    places = [place for place, name in enumerate(names) if name in apart]
    return found + seed_effects(_by_seed(array), draws, seed, names, spreads, relative, places)


def seed_spreads(arrays: Mapping[str, tuple[ArrayLike, Sequence[str]]]) -> dict[str, float]:
    """Return the variance over seeds of each entrant, relative to that of all entrants, the mean over datasets."""
    ratios: dict[str, list[tuple[float, float]]] = {}
    for values, names in arrays.values():
        for place, found in relative_variances(_by_seed(np.asarray(values, dtype=np.float64))).items():
            ratios.setdefault(names[place], []).append(found)
    return {
        name: sum(ratio * freedom for ratio, freedom in found) / sum(freedom for _, freedom in found)
        for name, found in ratios.items()
    }


def _by_seed(array: Array) -> Array:
    """Return the means over images of each run, shape (E, ..., R), of values (E, ..., R, N)."""
    return means(array[..., None, :])


def _image_deviations(by_image: Array, groups: NDArray[np.int64], draws: int, seed: int) -> Array:
    """Return deviations of resampled means of values (..., N), shape (draws, ...), as heavy-tailed as t statistics."""
    lead, images, units = by_image.shape[:-1], by_image.shape[-1], int(groups.max()) + 1
    weights = resampling_weights(units, draws, seed)[:, groups]
    there = ~np.isnan(by_image)
    total = weights @ np.where(there, by_image, 0.0).reshape(-1, images).T
    weight = weights @ there.reshape(-1, images).T.astype(np.float64)
    # Weights are multiples of 1 / units, or 0 but for rounding, hence the threshold.
    present = weight > 0.5 / units
    drawn = np.where(present, total / np.where(present, weight, 1.0), np.nan)
    generator = np.random.default_rng([seed, _IMAGES, units, 1])
    # Times sqrt(n / (n - 1)): a resampling has the variance that is divided by n.
    tails = np.sqrt(units / generator.chisquare(units - 1, size=draws))
    deviations = drawn.reshape(draws, *lead) - means(by_image[..., None, :])
    return np.asarray(deviations * tails.reshape(draws, *(1 for _ in lead)))


def interval(draws: ArrayLike, level: float = LEVEL) -> tuple[Array, Array]:
    """Return the percentile interval of draws (D, ...): lower and upper ends, each of shape (...)."""
    array = np.asarray(draws, dtype=np.float64)
    known = ~np.isnan(array).all(axis=0)
    # nanquantile warns about a column without a value.
    tail = (1 - level) / 2
    low, high = np.nanquantile(np.where(known, array, 0.0), [tail, 1 - tail], axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def simultaneous_intervals(middle: ArrayLike, draws: ArrayLike, level: float = LEVEL) -> tuple[Array, Array]:
    """Return intervals that hold all at once: lower and upper ends, each of shape (M,)."""
    values, array = np.asarray(middle, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    low, high = interval(array, level)
    known = np.isfinite(array).all(axis=0) & np.isfinite(values)
    ends = np.full((2, len(values)), np.nan)
    if not known.any():
        return ends[0], ends[1]
    deviations = array[:, known] - values[known]
    # A value that does not vary has an interval of no width.
    below = np.maximum(values[known] - low[known], 0.0)
    above = np.maximum(high[known] - values[known], 0.0)
    halves = np.where(deviations < 0, below, above)
    scaled = np.abs(deviations) / np.where(halves > 0, halves, np.inf)
    factor = max(1.0, float(np.quantile(scaled.max(axis=1), level)))
    ends[0, known], ends[1, known] = values[known] - factor * below, values[known] + factor * above
    return ends[0], ends[1]


def resampling_weights(size: int, draws: int, seed: int = 0) -> Array:
    """Return the weights (draws, size), rows summing to 1, of ``size`` units drawn with replacement."""
    generator = np.random.default_rng([seed, _IMAGES, size])
    counts = generator.multinomial(size, np.full(size, 1 / size), size=draws)
    return np.asarray(counts / size)
