"""Training seeds as a random effect: how far the runs of an entrant differ, and draws of that effect.

Two or three seeds say little about how far runs of one entrant differ. So their variance is pooled over the entrants of
an array; an entrant whose own runs differ more than that uses its own variance, with the degrees of freedom of all, so
that its intervals are somewhat short: three times the spread of the others is covered by 85 to 89 % where its variance
is found over four datasets, 82 to 86 % over one. Variances that are more alike relative to the entrants' means are
pooled so. A draw adds to an entrant's resampled mean a Gaussian effect whose variance is that of the mean over its
seeds, s^2 / R.

**Outliers** are left out of the pool: entrants whose variance, at any level, is beyond what chance explains against the
median variance of the others. The bound is the quantile that the quotient of the two exceeds in one of 1000 cases if
all variances are equal (:func:`variance_ratio`), divided among the levels (Bonferroni). For one other entrant it is the
quantile of F. The median of several variances is far below their mean, so that the plain quantile of F would leave out
8 (three seeds) to 27 (two seeds) of 1000 honest entrants; the exact quantile is computed instead. In simulations 0.9 to
1.5 of 1000 entrants with equal variances are outliers, and of entrants with three times the spread of five others 2 %
(two seeds) to 12 % (three seeds). Entrants are judged one after the other, the largest quotient first, so that an
outlier changes no judgement on others.

An outlier, and an entrant that is left out for another reason, has the effect that it would have alone: its own
variance, with its own degrees of freedom.

- Of two trained entrants, the one with the larger variance is an outlier beyond nine times the quantile of F: standard
  deviations that differ 1910 times (two seeds) or 95 times (three seeds). It is unclear which of two is wrong.
- Where one entrant alone has seeds there is nothing to pool: with two seeds its interval is that of one degree of
  freedom, 12.7 standard errors each way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: The share of entrants with equal variances that are outliers.
OUTLIER_SHARE = 0.001
#: By how much the true variances of honest entrants may differ.
TOLERANCE = 9.0

_SEEDS = 1  # stream of random numbers, apart from that of images
#: So many entrants are compared at least to find whether their variances are alike relative to their means.
_FEWEST = 3


@dataclass(frozen=True, eq=False)
class Runs:
    """How the means of training runs differ from the mean of their entrant."""

    deviations: Array
    counts: Array
    freedom: Array
    trained: NDArray[np.bool_]
    middle: Array
    relative: bool
    lead: tuple[int, ...]

    @property
    def scale(self) -> Array:
        """The factor of effects, shape (E, L)."""
        return np.where(self.relative & (self.middle != 0), self.middle, 1.0)

    @property
    def variances(self) -> Array:
        """The variance of each entrant and level, shape (E, L); 0 where it has no several runs."""
        return np.asarray((self.deviations**2).sum(axis=2) / np.maximum(self.freedom, 1) * (self.freedom > 0))

    @property
    def pooled(self) -> Array:
        """The variance of each level, pooled over entrants, shape (L,)."""
        return np.asarray((self.deviations**2).sum(axis=(0, 2)) / np.maximum(self.freedom.sum(axis=0), 1))

    @property
    def relative_variances(self) -> Array:
        """The variance of each entrant in units of that pooled over entrants, shape (E,)."""
        pooled = self.pooled
        known = (self.freedom > 0) & (pooled > 0)
        ratios = np.where(known, self.variances / np.where(pooled > 0, pooled, 1.0), 0.0)
        return np.asarray(ratios.sum(axis=1) / np.maximum(known.sum(axis=1), 1))


@dataclass(frozen=True)
class Outlier:
    """The level, of L, at which the spread of an entrant is the farthest beyond that of the others."""

    level: int
    spread: float
    median: float
    relative: bool


@dataclass(frozen=True, eq=False)
class Pool:
    """The entrants over which variances are pooled."""

    places: NDArray[np.int64]
    runs: Runs | None
    outliers: dict[int, Outlier]
    relative: bool


def pool(by_seed: Array, relative: bool | None = None, apart: Sequence[int] = ()) -> Pool:
    """Return the entrants whose variances are pooled: all but outliers, and those that are left out."""
    rest = np.setdiff1d(np.arange(len(by_seed)), np.asarray(apart, dtype=np.int64))
    if relative is not None:
        return _pool(by_seed, rest, relative)
    plain = _pool(by_seed, rest, False)
    # Variances cannot be relative to means that are not positive.
    rest = np.array([place for place in rest if place not in plain.outliers or np.nanmin(by_seed[place]) > 0], np.int64)
    other = _pool(by_seed, rest, True)
    # An outlier on both scales does not decide which one the others have.
    decisive = np.array([place for place in rest if place not in plain.outliers or place in other.places], np.int64)
    if not _is_relative(by_seed[decisive]):
        return plain
    outliers = {place: outlier for place, outlier in plain.outliers.items() if place not in rest}
    return replace(other, outliers={**outliers, **other.outliers})


def _pool(by_seed: Array, rest: NDArray[np.int64], relative: bool) -> Pool:
    runs = _runs(by_seed[rest], relative)
    found = {} if runs is None else _outliers(runs)
    places = np.delete(rest, list(found))
    outliers = {int(rest[place]): outlier for place, outlier in found.items()}
    return Pool(places, _runs(by_seed[places], relative) if found else runs, outliers, relative)


def _runs(by_seed: Array, relative: bool) -> Runs | None:
    """Return the runs of means (E, ..., R); ``None`` if no entrant has several that differ."""
    lead, seeds = by_seed.shape[1:-1], by_seed.shape[-1]
    by_seed = by_seed.reshape(len(by_seed), int(np.prod(lead)), seeds)
    there = ~np.isnan(by_seed)
    counts = there.sum(axis=-1)
    middle = np.where(there, by_seed, 0.0).sum(-1) / np.maximum(counts, 1)
    deviations = np.where(there, by_seed - middle[..., None], 0.0)
    size = np.abs(np.where(there, by_seed, 0.0)).max(axis=(1, 2))
    differs = np.abs(deviations).max(axis=(1, 2)) > 1e-12 * size
    freedom = np.where(differs[:, None], np.maximum(counts - 1, 0), 0).astype(np.float64)
    if not freedom.any():
        return None
    # An entrant with a single run, where others have several, is trained, too.
    trained = differs | ((counts.max(axis=1) == 1) & (seeds > 1))
    runs = Runs(deviations, counts.astype(np.float64), freedom, trained, middle, relative, lead)
    return replace(runs, deviations=deviations / runs.scale[..., None])


def _is_relative(by_seed: Array) -> bool:
    """Return whether variances are more alike between entrants relative to the square of their means."""
    plain, relative = _runs(by_seed, False), _runs(by_seed, True)
    if plain is None or relative is None:
        return False
    known = plain.variances > 0
    if not known.any() or plain.middle[known].min() <= 0:
        return False
    alike = 0.0
    for level in np.flatnonzero(known.sum(axis=0) >= _FEWEST):
        both = (np.log(one.variances[known[:, level], level]).var() for one in (plain, relative))
        alike += float(next(both) - next(both))
    return alike > 0


def _outliers(runs: Runs) -> dict[int, Outlier]:
    """Return the entrants whose variance at a level is beyond what the median of the others' explains, by place."""
    variances, freedom = runs.variances, runs.freedom
    share = OUTLIER_SHARE / max(1, int((freedom > 0).any(axis=0).sum()))
    kept = freedom > 0
    found: dict[int, Outlier] = {}
    while True:
        farthest, worst = 1.0, None
        for level in range(variances.shape[1]):
            places = np.flatnonzero(kept[:, level])
            if len(places) < 2:
                continue
            # The largest quotient of entrants with as many runs is that of the largest variance.
            for number in np.unique(freedom[places, level]):
                of_number = places[freedom[places, level] == number]
                place = int(of_number[np.argmax(variances[of_number, level])])
                others = places[places != place]
                median = float(_median(variances[others, level]))
                ratio = variance_ratio(int(number), int(_median(freedom[others, level])), len(others), share)
                bound = TOLERANCE * ratio * median
                if variances[place, level] > farthest * bound > 0:
                    farthest = float(variances[place, level] / bound)
                    spread = math.sqrt(variances[place, level])
                    worst = place, Outlier(level, spread, math.sqrt(median), runs.relative)
        if worst is None:
            return found
        found[worst[0]] = worst[1]
        kept[worst[0]] = False


def _median(values: Array) -> float:
    """Return the median; of an even number of values, the larger of the two in the middle."""
    return float(np.sort(values)[len(values) // 2])


@lru_cache(maxsize=1024)
def variance_ratio(freedom: int, others_freedom: int, others: int, share: float) -> float:
    """Return what the quotient of a variance and the median of others exceeds by chance in a share of cases."""
    from scipy.special import betaincinv, gammaincc, gammaincinv

    # Nodes are dense where the median is near 0, which is where its quotient is large.
    nodes, weights = np.polynomial.legendre.leggauss(200)
    nodes, weights = ((1 + nodes) / 2) ** 4, weights * 2 * ((1 + nodes) / 2) ** 3
    rank = others // 2 + 1
    medians = 2 * gammaincinv(others_freedom / 2, betaincinv(rank, others - rank + 1, nodes)) / others_freedom
    low, high = 0.0, 80.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        exceeded = weights @ gammaincc(freedom / 2, math.exp(middle) * freedom * medians / 2)
        low, high = (middle, high) if exceeded > share else (low, middle)
    return math.exp(low)


def relative_variances(by_seed: Array) -> dict[int, tuple[float, float]]:
    """Return variances over seeds relative to that of all entrants of the pool, and degrees of freedom, by place."""
    found = pool(by_seed)
    if found.runs is None:
        return {}
    columns = (found.places, found.runs.relative_variances, found.runs.freedom.max(axis=1))
    return {
        int(place): (float(ratio), float(freedom))
        for place, ratio, freedom in zip(*columns, strict=True)
        if freedom > 0
    }


def seed_effects(
    by_seed: Array,
    draws: int,
    seed: int,
    names: Sequence[str],
    spreads: Mapping[str, float] | None = None,
    relative: bool | None = None,
    apart: Sequence[int] = (),
) -> Array:
    """Return effects of the choice of seeds, shape (draws, E, ...): 0 for entrants that are not trained."""
    effects = np.zeros((draws, *by_seed.shape[:-1]))
    pooled = pool(by_seed, relative, apart)
    if pooled.runs is not None:
        own = pooled.runs.relative_variances
        chosen = [names[place] for place in pooled.places]
        factors = own if spreads is None else np.array([spreads.get(name, 1.0) for name in chosen])
        effects[:, pooled.places] = _drawn(pooled.runs, np.sqrt(np.maximum(factors, 1.0)), draws, seed, chosen)
    for place in np.setdiff1d(np.arange(len(by_seed)), pooled.places):
        runs = _runs(by_seed[[place]], pooled.relative)
        if runs is not None:
            effects[:, [place]] = _drawn(runs, np.ones(1), draws, seed, [names[place]])
    return effects


def _drawn(runs: Runs, factors: Array, draws: int, seed: int, names: Sequence[str]) -> Array:
    """Return effects of the choice of seeds, shape (draws, E, ...), times a factor for each entrant."""
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
