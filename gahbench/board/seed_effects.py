"""Training seeds as a random effect: the variance between the runs of an entrant, and draws of the effect.

Two or three seeds determine the variance between the runs of one entrant poorly. So the variance is pooled over the
entrants of an array. An entrant whose own variance is larger than the pooled variance keeps a larger variance: the
pooled variance of the other entrants, times the ratio of its own variance to it, averaged over datasets. Its degrees of
freedom lie between those of the pool (no excess) and its own (large excess; :func:`degrees_of_freedom`). Variances are
pooled relative to the squared means of the entrants if this makes them more equal.

The ratio is to the pooled variance of the *other* entrants, because an entrant with a large spread would raise a pool
that it belongs to. It is divided by the mean of the distribution F, which ratios of equal variances have. If the others
have two degrees of freedom or fewer, this mean is infinite, and the ratio is to the pooled variance of all entrants.

A draw adds to an entrant's resampled mean a Gaussian effect with the variance of the mean over its R seeds, s^2 / R,
and the tails of a t statistic. Effects of entrants are independent, so that the difference of entrants a and b has the
variance s_a^2 / R_a + s_b^2 / R_b. In simulations of six entrants, 95 % intervals of the effects of seeds cover the
truth in 96 to 97 % of cases if spreads are equal. For one entrant with three times the spread of the others they cover
it in 92 % (two seeds) to 95 % (five seeds) of cases if its spread is averaged over three or more datasets, and in 88 %
to 93 % with one dataset.

**Outliers** are left out of the pool: entrants whose variance, at any level, is larger than chance explains, compared
with the median variance of the others. The threshold is :data:`TOLERANCE` times the value that this quotient exceeds in
one of 1000 cases if all variances are equal (:func:`variance_ratio`); the probability is divided among the levels
(Bonferroni). With one other entrant it is a quantile of F. With several, the median of their variances is far
below the mean, and the quantile of F would leave out 8 (three seeds) to 27 (two seeds) of 1000 entrants with equal
variances, so the exact quantile is computed. In simulations, 0.9 to 1.5 of 1000 entrants with equal variances are
outliers, and 2 % (two seeds) to 12 % (three seeds) of entrants with three times the spread of five others. Entrants are
tested one after the other, from the largest quotient, so that an outlier does not affect the decision on other
entrants.

Outliers, and entrants that are left out for other reasons, have the effect that they would have alone: with their own
variance and their own degrees of freedom.

- With two trained entrants, the entrant with the larger variance is an outlier if the ratio of variances exceeds nine
  times the quantile of F, that is, at one level, if standard deviations differ by a factor of 1910 (two seeds) or 95
  (three seeds). With two entrants it is unclear which of them is wrong.
- If only one entrant has several seeds, there is nothing to pool: with two seeds its interval has one degree of
  freedom, and extends 12.7 standard errors to each side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: The probability that an entrant is an outlier if all variances are equal.
OUTLIER_SHARE = 0.001
#: The factor by which the true variances of entrants may differ without making an entrant an outlier.
TOLERANCE = 9.0

#: Index of the random stream, different from the stream for images.
_STREAM = 1
#: Step of the logarithm of degrees of freedom.
_DOF_STEP = 0.02
#: Absolute and relative variances are compared only with at least this many entrants.
_MIN_ENTRANTS = 3


@dataclass(frozen=True)
class Spread:
    """The variance of an entrant over seeds, relative to :attr:`Runs.reference`, and its degrees of freedom."""

    ratio: float
    dof: float

    @classmethod
    def average(cls, spreads: Sequence[Spread]) -> Spread:
        """Return the average over datasets, weighted by degrees of freedom."""
        dof = sum(spread.dof for spread in spreads)
        return cls(sum(spread.ratio * spread.dof for spread in spreads) / dof, dof)


@dataclass(frozen=True, eq=False)
class Runs:
    """Deviations of training runs from the mean of their entrant, for E entrants, L levels and R runs."""

    deviations: Array
    counts: Array
    dof: Array
    trained: NDArray[np.bool_]
    means: Array
    relative: bool
    leading_shape: tuple[int, ...]

    @property
    def scale(self) -> Array:
        """The factor by which deviations are divided, and effects multiplied, shape (E, L)."""
        return np.where(self.relative & (self.means != 0), self.means, 1.0)

    @cached_property
    def variances(self) -> Array:
        """The variance of each entrant and level, shape (E, L); 0 without at least two runs."""
        return np.asarray((self.deviations**2).sum(axis=2) / np.maximum(self.dof, 1) * (self.dof > 0))

    @cached_property
    def pooled(self) -> Array:
        """The pooled variance of each level, shape (L,)."""
        return np.asarray((self.deviations**2).sum(axis=(0, 2)) / np.maximum(self.dof.sum(axis=0), 1))

    @cached_property
    def reference(self) -> tuple[Array, Array, Array]:
        """The variance to which each entrant's is compared, its degrees of freedom and the mean ratio, each (E, L).

        It is the pooled variance of the other entrants or, if these have two degrees of freedom or fewer, of all. The
        mean ratio is that of two estimates of the same variance.
        """
        squares, total = (self.deviations**2).sum(axis=2), self.dof.sum(axis=0)
        dof = total - self.dof
        has_mean = (dof > 2) & (squares.sum(axis=0) - squares > 0)
        others = np.maximum(squares.sum(axis=0) - squares, 0.0) / np.maximum(dof, 1)
        variance = np.where(has_mean, others, self.pooled)
        expected = np.where(has_mean, dof / np.where(has_mean, dof - 2, 1.0), 1.0)
        return variance, np.where(has_mean, dof, total), expected

    @property
    def spreads(self) -> list[Spread | None]:
        """The spread of each entrant, averaged over levels; ``None`` for entrants without several runs."""
        variance, _, expected = self.reference
        is_known = np.asarray((self.dof > 0) & (variance > 0))
        ratios = np.where(is_known, self.variances / np.where(is_known, variance * expected, 1.0), 0.0)
        ratios, dof = ratios.sum(axis=1) / np.maximum(is_known.sum(axis=1), 1), self.dof.max(axis=1)
        return [
            Spread(float(ratio), float(own)) if known else None
            for ratio, own, known in zip(ratios, dof, map(np.any, is_known), strict=True)
        ]


@dataclass(frozen=True)
class Outlier:
    """The level at which the spread of an entrant exceeds the median spread of the others the most."""

    level: int
    spread: float
    median: float
    relative: bool


@dataclass(frozen=True, eq=False)
class Pool:
    """The entrants over which variances are pooled, and the outliers, by index."""

    indices: NDArray[np.int64]
    runs: Runs | None
    outliers: dict[int, Outlier]
    relative: bool


def pool(by_seed: Array, relative: bool | None = None, excluded: Sequence[int] = ()) -> Pool:
    """Build the pool of variances from means over images, shape (E, ..., R), without outliers and excluded entrants."""
    candidates = np.setdiff1d(np.arange(len(by_seed)), np.asarray(excluded, dtype=np.int64))
    if relative is not None:
        return _pool_on_scale(by_seed, candidates, relative)
    absolute_pool = _pool_on_scale(by_seed, candidates, False)
    # Variances cannot be relative to means that are not positive.
    candidates = np.array(
        [index for index in candidates if index not in absolute_pool.outliers or np.nanmin(by_seed[index]) > 0],
        np.int64,
    )
    relative_pool = _pool_on_scale(by_seed, candidates, True)
    # Entrants that are outliers on both scales must not decide the scale of the others.
    decisive = np.array(
        [index for index in candidates if index not in absolute_pool.outliers or index in relative_pool.indices],
        np.int64,
    )
    if not _is_relative(by_seed[decisive]):
        return absolute_pool
    outliers = {index: outlier for index, outlier in absolute_pool.outliers.items() if index not in candidates}
    return replace(relative_pool, outliers={**outliers, **relative_pool.outliers})


def _pool_on_scale(by_seed: Array, candidates: NDArray[np.int64], relative: bool) -> Pool:
    runs = _runs(by_seed[candidates], relative)
    outlier_indices = {} if runs is None else _outliers(runs)
    pooled_indices = np.delete(candidates, list(outlier_indices))
    outliers = {int(candidates[index]): outlier for index, outlier in outlier_indices.items()}
    return Pool(
        pooled_indices, _runs(by_seed[pooled_indices], relative) if outlier_indices else runs, outliers, relative
    )


def _runs(by_seed: Array, relative: bool) -> Runs | None:
    """Return the runs with means (E, ..., R); ``None`` if the runs of no entrant differ."""
    leading_shape, seeds = by_seed.shape[1:-1], by_seed.shape[-1]
    by_seed = by_seed.reshape(len(by_seed), int(np.prod(leading_shape)), seeds)
    is_present = ~np.isnan(by_seed)
    counts = is_present.sum(axis=-1)
    entrant_means = np.where(is_present, by_seed, 0.0).sum(-1) / np.maximum(counts, 1)
    deviations = np.where(is_present, by_seed - entrant_means[..., None], 0.0)
    magnitude = np.abs(np.where(is_present, by_seed, 0.0)).max(axis=(1, 2))
    differs = np.abs(deviations).max(axis=(1, 2)) > 1e-12 * magnitude
    dof = np.where(differs[:, None], np.maximum(counts - 1, 0), 0).astype(np.float64)
    if not dof.any():
        return None
    # An entrant with a single run among entrants with several is trained, too.
    trained = differs | ((counts.max(axis=1) == 1) & (seeds > 1))
    runs = Runs(deviations, counts.astype(np.float64), dof, trained, entrant_means, relative, leading_shape)
    return replace(runs, deviations=deviations / runs.scale[..., None])


def _is_relative(by_seed: Array) -> bool:
    """Return whether variances relative to squared means are more equal between entrants than absolute variances."""
    absolute, relative = _runs(by_seed, False), _runs(by_seed, True)
    if absolute is None or relative is None:
        return False
    is_known = absolute.variances > 0
    if not is_known.any() or absolute.means[is_known].min() <= 0:
        return False
    difference = 0.0
    for level in np.flatnonzero(is_known.sum(axis=0) >= _MIN_ENTRANTS):
        spreads = (np.log(runs.variances[is_known[:, level], level]).var() for runs in (absolute, relative))
        difference += float(next(spreads) - next(spreads))
    return difference > 0


def _outliers(runs: Runs) -> dict[int, Outlier]:
    """Return, by index, the entrants whose variance is too large compared with the median variance of the others."""
    variances, dof = runs.variances, runs.dof
    share = OUTLIER_SHARE / max(1, int((dof > 0).any(axis=0).sum()))
    is_candidate = dof > 0
    outliers: dict[int, Outlier] = {}
    while True:
        largest_excess, worst = 1.0, None
        for level in range(variances.shape[1]):
            indices = np.flatnonzero(is_candidate[:, level])
            if len(indices) < 2:
                continue
            # Among entrants with equally many runs, the largest variance has the largest quotient.
            for dof_value in np.unique(dof[indices, level]):
                same_dof = indices[dof[indices, level] == dof_value]
                index = int(same_dof[np.argmax(variances[same_dof, level])])
                others = indices[indices != index]
                median = float(_median(variances[others, level]))
                ratio = variance_ratio(int(dof_value), int(_median(dof[others, level])), len(others), share)
                bound = TOLERANCE * ratio * median
                if variances[index, level] > largest_excess * bound > 0:
                    largest_excess = float(variances[index, level] / bound)
                    spread = math.sqrt(variances[index, level])
                    worst = index, Outlier(level, spread, math.sqrt(median), runs.relative)
        if worst is None:
            return outliers
        outliers[worst[0]] = worst[1]
        is_candidate[worst[0]] = False


def _median(values: Array) -> float:
    """Return the median; for an even number of values, the larger of the two middle values."""
    return float(np.sort(values)[len(values) // 2])


@lru_cache(maxsize=1024)
def variance_ratio(dof: int, other_dof: int, count: int, share: float) -> float:
    """Return the value that a variance over the median of ``count`` others exceeds with probability ``share``."""
    from scipy.special import betaincinv, gammaincc, gammaincinv

    # Nodes are dense near 0, since small medians give large quotients.
    nodes, weights = np.polynomial.legendre.leggauss(200)
    nodes, weights = ((1 + nodes) / 2) ** 4, weights * 2 * ((1 + nodes) / 2) ** 3
    rank = count // 2 + 1
    medians = 2 * gammaincinv(other_dof / 2, betaincinv(rank, count - rank + 1, nodes)) / other_dof
    low, high = 0.0, 80.0
    while high - low > 1e-9:
        midpoint = (low + high) / 2
        exceeded = weights @ gammaincc(dof / 2, math.exp(midpoint) * dof * medians / 2)
        low, high = (midpoint, high) if exceeded > share else (low, midpoint)
    return math.exp(low)


def degrees_of_freedom(ratio: float, dof: float, pooled: float) -> float:
    """Return the degrees of freedom of the larger of an entrant's own variance and the pooled variance.

    ``ratio`` is the own variance in units of the pooled variance. The larger variance is the sum of the pooled variance
    and an excess, with ``pooled`` and ``dof`` degrees of freedom. Satterthwaite's approximation weights the inverse
    degrees of freedom by the squared shares of both parts in the sum. Since the larger variance is chosen after both
    are known, the shares themselves are the weights, which gives fewer degrees of freedom.
    """
    from scipy.special import chdtri

    # With few degrees of freedom most estimates of a large ratio are too small, so correct for their median.
    corrected = ratio * dof / float(chdtri(dof, 0.5))
    excess = 1 - 1 / max(corrected, 1.0)
    return 1 / (excess / dof + (1 - excess) / pooled)


def relative_variances(by_seed: Array) -> dict[int, Spread]:
    """Return the spread over seeds of each pooled entrant, by index, from means over images (E, ..., R)."""
    pooled = pool(by_seed)
    if pooled.runs is None:
        return {}
    pairs = zip(pooled.indices, pooled.runs.spreads, strict=True)
    return {int(index): spread for index, spread in pairs if spread is not None}


def seed_effects(
    by_seed: Array,
    draws: int,
    seed: int,
    names: Sequence[str],
    spreads: Mapping[str, Spread] | None = None,
    relative: bool | None = None,
    excluded: Sequence[int] = (),
) -> Array:
    """Return draws of the effect of seeds, shape (draws, E, ...); 0 for untrained entrants."""
    effects = np.zeros((draws, *by_seed.shape[:-1]))
    pooled = pool(by_seed, relative, excluded)
    if pooled.runs is not None:
        pooled_names = [names[index] for index in pooled.indices]
        own = pooled.runs.spreads if spreads is None else [spreads.get(name) for name in pooled_names]
        effects[:, pooled.indices] = _draw_effects(pooled.runs, own, draws, seed, pooled_names)
    for index in np.setdiff1d(np.arange(len(by_seed)), pooled.indices):
        runs = _runs(by_seed[[index]], pooled.relative)
        if runs is not None:
            effects[:, [index]] = _draw_effects(runs, [None], draws, seed, [names[index]])
    return effects


def _draw_effects(runs: Runs, spreads: Sequence[Spread | None], draws: int, seed: int, names: Sequence[str]) -> Array:
    """Return draws of the effect of seeds, shape (draws, E, ...), with the spread of each entrant."""
    entrants, levels, _ = runs.deviations.shape
    # Correlations between levels are estimated from the entrants that have both levels.
    dof = runs.dof.sum(axis=0)
    spread = np.sqrt(runs.pooled)
    products = np.einsum("elr,emr->lm", runs.deviations, runs.deviations)
    shared_dof = np.minimum(runs.dof[:, :, None], runs.dof[:, None, :]).sum(axis=0)
    correlation = products / np.maximum(shared_dof, 1) / np.maximum(np.outer(spread, spread), 1e-300)
    eigenvalues, eigenvectors = np.linalg.eigh(correlation)
    root = eigenvectors * np.sqrt(np.clip(eigenvalues, 0, None))
    root /= np.maximum(np.sqrt((root**2).sum(axis=1, keepdims=True)), 1e-300)
    effects = np.zeros((draws, entrants, levels))
    references, reference_dof, _ = runs.reference
    for index, (name, own) in enumerate(zip(names, spreads, strict=True)):
        if not runs.trained[index]:
            continue
        variance = runs.pooled if own is None else np.maximum(own.ratio * references[index], runs.pooled)
        degrees = dof if own is None else reference_dof[index]
        tails = np.ones((draws, levels))
        for level in np.flatnonzero(dof > 0):
            here = float(runs.dof[index, level])
            tails[:, level] = _tails(seed, draws, _dof(own, here, float(degrees[level])))
        generator = np.random.default_rng([seed, _STREAM, crc32(name.encode())])
        normal = (generator.standard_normal((draws, levels)) @ root.T) * tails * np.sqrt(variance)
        effects[:, index] = runs.scale[index] * normal / np.sqrt(np.maximum(runs.counts[index], 1))
    return effects.reshape(draws, entrants, *runs.leading_shape)


def _dof(spread: Spread | None, here: float, pooled: float) -> float:
    """Return the degrees of freedom of an entrant's variance, of which ``here`` are from its runs on this dataset."""
    if spread is None:
        return pooled
    # The ratio on other datasets applies to this dataset through the pooled variance, which is uncertain, too.
    elsewhere = max(spread.dof - here, 0.0) / spread.dof
    return degrees_of_freedom(spread.ratio, 1 / (1 / spread.dof + elsewhere / pooled), pooled)


def _tails(seed: int, draws: int, dof: float) -> Array:
    """Return draws of sqrt(df / chi^2), shape (draws,), from the same uniform numbers for all degrees of freedom."""
    # Degrees of freedom are rounded down to a step of 2 %, so that their quantiles can be cached.
    steps = math.floor(math.log(dof) / _DOF_STEP + 1e-9)
    return _tails_of_step(seed, draws, steps)


@lru_cache(maxsize=512)
def _tails_of_step(seed: int, draws: int, steps: int) -> Array:
    from scipy.special import chdtri

    dof = math.exp(steps * _DOF_STEP)
    uniform = np.random.default_rng([seed, _STREAM]).uniform(size=draws)
    return np.asarray(np.sqrt(dof / chdtri(dof, 1 - uniform)))
