"""Intervals over test images and training seeds.

Every entrant of a dataset is measured on the same images under the same noise. So the resamplings of images are drawn
once, from a fixed generator that depends on nothing but their number, and are shared by all entrants: the difference of
two entrants' draws is a draw of their paired difference, in which the difficulty of an image cancels.

Training seeds are a random effect. Two or three seeds say little about how far runs of one entrant differ, so that
their variance is pooled over the entrants of an array; an entrant whose own runs differ more than that uses its own
variance, with the degrees of freedom of all, so that its intervals are somewhat short: three times the spread of the
others is covered by 85 to 89 % where its variance is found over four datasets, 82 to 86 % over one. Variances that are
more alike relative to the entrants' means are pooled so.
A draw adds to an entrant's resampled mean a Gaussian effect whose variance is that of the mean over its seeds, s^2 / R.

Variances that are estimated from few units are too small as often as too large. Each draw divides deviations by
a sqrt(chi^2 / df), as a t statistic does, once for images and once for seeds. Limits of the intervals:

- With one seed everywhere, an interval says how far these trained weights would score otherwise on other images, and
  nothing about another training run.
- Where one entrant alone has seeds there is nothing to pool: with two seeds its interval is that of one degree of
  freedom, 12.7 standard errors each way.
- Where images and seeds interact, the interaction counts on both sides; intervals are then too wide, by up to sqrt(2).
- Fewer than five independent images, or sources of images, do not tell how far others would differ: draws and intervals
  are NaN.

References
----------
Efron, Tibshirani, *An Introduction to the Bootstrap*, 1993, section 13.3 (percentile interval).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

DRAWS = 2000
LEVEL = 0.95
#: Independent images, or sources of images, below which there is no interval over them: the t statistics of few would
#: give intervals many times as wide as the values differ.
MIN_SOURCES = 5

_IMAGES, _SEEDS = 0, 1  # streams of random numbers
#: So many entrants are compared at least to find whether their variances are alike relative to their means.
_FEWEST = 3


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its 95 % interval; NaN where one is not known."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def is_known(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)


#: Where nothing is known.
UNKNOWN = Estimate(math.nan)


def estimate(middle: ArrayLike, draws: ArrayLike) -> Estimate:
    """Return a single value with the percentile interval of its draws (D,)."""
    low, high = interval(draws)
    return Estimate(float(np.asarray(middle)), float(low), float(high))


def estimates(middle: ArrayLike, draws: ArrayLike) -> list[Estimate]:
    """Return values (K,) with the percentile intervals of their draws (D, K)."""
    columns = (np.asarray(middle, dtype=np.float64), *interval(draws))
    return [Estimate(*map(float, row)) for row in zip(*columns, strict=True)]


def means(values: ArrayLike) -> Array:
    """Return the means over seeds and images of values (..., R, N), shape (...).

    NaN marks a missing value; the mean is over the values present, NaN where there is none.
    """
    array = _checked(values)
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
) -> Array:
    """Return draws of the means over seeds and images.

    Parameters
    ----------
    values
        Shape (E, ..., R, N): entrants, such as noise levels, training seeds, images. An entrant that is not trained has
        the same values for every seed. NaN marks a missing value, such as those of a failed seed, which is left out.
    draws
        How many.
    seed
        Of the generators. Arrays with equal N have their images resampled alike, so that their draws are paired.
    names
        Of the entrants, which decide whose seed effects are drawn: with them, draws do not depend on the order. Places
        by default.
    spreads
        By name, variances over seeds relative to that of all entrants, of :func:`seed_spreads` over several datasets;
        those of this array by default.
    sources
        Which source each image is from, shape (N,): those of one are resampled together. Each has its own by default.
    relative
        Whether variances over seeds are pooled relative to the square of an entrant's mean, as for squared errors. By
        default they are where that makes them more alike between entrants, and all means are positive.

    Returns
    -------
    ndarray
        Shape (draws, E, ...). NaN where a resampling holds no value that is present, and everywhere if there are fewer
        than :data:`MIN_SOURCES` images, or sources.
    """
    array = _checked(values)
    if array.ndim < 3:
        raise ValueError(f"expected values of shape (entrants, ..., seeds, images), not {array.shape}")
    entrants, lead, images = array.shape[0], array.shape[:-2], array.shape[-1]
    _, groups = np.unique(np.arange(images) if sources is None else np.asarray(sources), return_inverse=True)
    if groups.max() + 1 < MIN_SOURCES or 0 in lead:
        return np.full((draws, *lead), np.nan)
    middle = means(array)
    names = [str(place) for place in range(entrants)] if names is None else names
    by_image = means(array.swapaxes(-1, -2)[..., None])
    found: Array = middle + _image_deviations(by_image, groups, draws, seed)
    runs = _runs(array, relative)
    if runs is not None:
        own = _relative_variances(runs)
        factors = np.array(
            [max(1.0, own[place] if spreads is None else spreads.get(name, 1.0)) for place, name in enumerate(names)]
        )
        found = found + _seed_effects(runs, np.sqrt(factors), draws, seed, names)
    return found


def seed_spreads(arrays: Mapping[str, tuple[ArrayLike, Sequence[str]]]) -> dict[str, float]:
    """Return the variance over seeds of each entrant, relative to that of all entrants, the mean over datasets.

    Parameters
    ----------
    arrays
        By dataset: values (E, ..., R, N), and the names of the E entrants.
    """
    ratios: dict[str, list[tuple[float, float]]] = {}
    for values, names in arrays.values():
        runs = _runs(_checked(values), None)
        if runs is not None:
            for name, ratio, freedom in zip(names, _relative_variances(runs), runs.freedom.max(axis=1), strict=True):
                if freedom > 0:
                    ratios.setdefault(name, []).append((ratio, freedom))
    return {
        name: sum(ratio * freedom for ratio, freedom in found) / sum(freedom for _, freedom in found)
        for name, found in ratios.items()
    }


@dataclass(frozen=True, eq=False)
class _Runs:
    """How the means of training runs differ from the mean of their entrant.

    Parameters
    ----------
    deviations
        Shape (E, L, R), 0 where there is no run; relative to the entrant's mean where scales differ.
    counts
        How many runs there are, shape (E, L).
    freedom
        Degrees of freedom, shape (E, L): 0 for entrants that are not trained, or once.
    trained
        Whether an entrant has an effect of its seeds, shape (E,).
    scale
        What effects are multiplied by, shape (E, L).
    lead
        The shape of the L levels.
    """

    deviations: Array
    counts: Array
    freedom: Array
    trained: NDArray[np.bool_]
    scale: Array
    lead: tuple[int, ...]

    @property
    def pooled(self) -> Array:
        """The variance of each level, pooled over entrants, shape (L,)."""
        return np.asarray((self.deviations**2).sum(axis=(0, 2)) / np.maximum(self.freedom.sum(axis=0), 1))


def _runs(array: Array, relative: bool | None) -> _Runs | None:
    """Return the runs of values (E, ..., R, N); ``None`` if no entrant has several that differ."""
    by_seed = means(array[..., None, :]).reshape(array.shape[0], -1, array.shape[-2])
    there = ~np.isnan(by_seed)
    counts = there.sum(axis=-1)
    middle = np.where(there, by_seed, 0.0).sum(-1) / np.maximum(counts, 1)
    deviations = np.where(there, by_seed - middle[..., None], 0.0)
    size = np.abs(np.where(there, by_seed, 0.0)).max(axis=(1, 2))
    differs = np.abs(deviations).max(axis=(1, 2)) > 1e-12 * size
    freedom = np.where(differs[:, None], np.maximum(counts - 1, 0), 0).astype(np.float64)
    if not freedom.any():
        return None
    # One that has a single run, where others have several that differ, is trained too.
    trained = differs | ((counts.max(axis=1) == 1) & (array.shape[-2] > 1))
    if relative is None:
        variances = (deviations**2).sum(axis=2) / np.maximum(freedom, 1) * (freedom > 0)
        relative = _is_relative(np.where(counts > 0, middle, np.nan), variances)
    scale = np.where(middle != 0, middle, 1.0) if relative else np.ones_like(middle)
    return _Runs(deviations / scale[..., None], counts.astype(np.float64), freedom, trained, scale, array.shape[1:-2])


def _is_relative(middle: Array, variances: Array) -> bool:
    """Return whether variances (E, L) are more alike between entrants relative to the square of their means (E, L).

    They are pooled as they are where means are not positive, and where fewer than three entrants are compared.
    """
    known = np.isfinite(middle) & (variances > 0)
    if not known.any() or middle[known].min() <= 0:
        return False
    alike = 0.0
    for level in np.flatnonzero(known.sum(axis=0) >= _FEWEST):
        of_level = known[:, level]
        plain = np.log(variances[of_level, level])
        alike += float(plain.var() - (plain - 2 * np.log(middle[of_level, level])).var())
    return alike > 0


def _relative_variances(runs: _Runs) -> Array:
    """Return the variance over seeds of each entrant in units of that pooled over entrants, shape (E,).

    The mean over the levels at which it has several runs; 0 where it has none.
    """
    pooled = runs.pooled
    known = (runs.freedom > 0) & (pooled > 0)
    own = (runs.deviations**2).sum(axis=2) / np.maximum(runs.freedom, 1)
    ratios = np.where(known, own / np.where(pooled > 0, pooled, 1.0), 0.0)
    return np.asarray(ratios.sum(axis=1) / np.maximum(known.sum(axis=1), 1))


def _image_deviations(by_image: Array, groups: NDArray[np.int64], draws: int, seed: int) -> Array:
    """Return deviations of resampled means of values (..., N), shape (draws, ...), as heavy-tailed as t statistics.

    Images of one of the groups, numbered from 0, shape (N,), are resampled together.
    """
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


def _seed_effects(runs: _Runs, factors: Array, draws: int, seed: int, names: Sequence[str]) -> Array:
    """Return effects of the choice of seeds, shape (draws, E, ...): 0 for entrants that are not trained."""
    from scipy.stats import chi2

    entrants, levels, _ = runs.deviations.shape
    # Correlations between levels, of the entrants that have both.
    freedom = runs.freedom.sum(axis=0)
    spread = np.sqrt(runs.pooled)
    products = np.einsum("elr,emr->lm", runs.deviations, runs.deviations)
    common = np.minimum(runs.freedom[:, :, None], runs.freedom[:, None, :]).sum(axis=0)
    correlation = products / np.maximum(common, 1) / np.maximum(np.outer(spread, spread), 1e-300)
    eigenvalues, eigenvectors = np.linalg.eigh(correlation)
    root = eigenvectors * np.sqrt(np.clip(eigenvalues, 0, None))
    root /= np.maximum(np.sqrt((root**2).sum(axis=1, keepdims=True)), 1e-300)
    # Alike at all levels, as far as their degrees of freedom are.
    uniform = np.random.default_rng([seed, _SEEDS]).uniform(size=draws)
    tails = np.ones((draws, levels))
    for number in np.unique(freedom[freedom > 0]):
        tails[:, freedom == number] = np.sqrt(number / chi2.ppf(uniform, number))[:, None]
    effects = np.zeros((draws, entrants, levels))
    for place, name in enumerate(names):
        if runs.trained[place]:
            generator = np.random.default_rng([seed, _SEEDS, crc32(name.encode())])
            normal = (generator.standard_normal((draws, levels)) @ root.T) * tails * spread
            effects[:, place] = runs.scale[place] * factors[place] * normal / np.sqrt(np.maximum(runs.counts[place], 1))
    return effects.reshape(draws, entrants, *runs.lead)


def interval(draws: ArrayLike, level: float = LEVEL) -> tuple[Array, Array]:
    """Return the percentile interval of draws (D, ...): lower and upper ends, each of shape (...).

    Draws that are NaN are left out; the ends are NaN where all are.

    Raises
    ------
    ValueError
        If the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, not at {level}")
    array = np.asarray(draws, dtype=np.float64)
    known = ~np.isnan(array).all(axis=0)
    # A column without a single value would make nanquantile warn.
    tail = (1 - level) / 2
    low, high = np.nanquantile(np.where(known, array, 0.0), [tail, 1 - tail], axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def simultaneous_intervals(middle: ArrayLike, draws: ArrayLike, level: float = LEVEL) -> tuple[Array, Array]:
    """Return intervals that hold all at once: lower and upper ends, each of shape (M,).

    The percentile intervals of the values are widened by one factor, the quantile of the largest deviation of a draw,
    in units of half of its interval on that side (max-t). Of one value it is the percentile interval.

    Parameters
    ----------
    middle
        Values, shape (M,).
    draws
        Joint draws of them, shape (D, M). Ends are NaN where they are, and the others are as if without these.
    """
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


def _checked(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim < 2 or 0 in array.shape[-2:]:
        raise ValueError(f"expected values of shape (..., seeds, images), none of them empty, not {array.shape}")
    return array
