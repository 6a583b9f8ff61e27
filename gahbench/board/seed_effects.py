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
variance s_a^2 / R_a + s_b^2 / R_b. Entrants that are left out of comparisons have the effect that they would have
alone, with their own variance and degrees of freedom. ``python tests/bench/interval_coverage.py`` simulates coverage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Index of the random stream, different from the stream for images.
_STREAM = 1
#: Step of the logarithm of degrees of freedom.
_DOF_STEP = 0.02
#: Absolute and relative variances are compared only with at least this many entrants.
_MIN_ENTRANTS = 3


@dataclass(frozen=True)
class Spread:
    """The variance of an entrant over seeds, relative to :attr:`_Runs.reference`, and its degrees of freedom."""

    ratio: float
    dof: float

    @classmethod
    def average(cls, spreads: Sequence[Spread]) -> Spread:
        """Return the average over datasets, weighted by degrees of freedom."""
        dof = sum(spread.dof for spread in spreads)
        return cls(sum(spread.ratio * spread.dof for spread in spreads) / dof, dof)


@dataclass(frozen=True, eq=False)
class _Runs:
    """Deviations (E, L, R) of training runs from the mean of their entrant, divided by a scale (E, L), for L levels."""

    deviations: Array
    counts: Array
    dof: Array
    scale: Array
    is_trained: NDArray[np.bool_]

    @cached_property
    def squares(self) -> Array:
        """The sum of squared deviations of each entrant and level, shape (E, L)."""
        return np.asarray((self.deviations**2).sum(axis=2))

    @cached_property
    def pooled(self) -> Array:
        """The pooled variance of each level, shape (L,)."""
        return np.asarray(self.squares.sum(axis=0) / np.maximum(self.dof.sum(axis=0), 1))

    @cached_property
    def reference(self) -> tuple[Array, Array, Array]:
        """The variance to which each entrant's is compared, its degrees of freedom and the mean ratio, each (E, L)."""
        total = self.dof.sum(axis=0)
        dof, squares = total - self.dof, self.squares.sum(axis=0) - self.squares
        has_mean = (dof > 2) & (squares > 0)
        variance = np.where(has_mean, np.maximum(squares, 0.0) / np.maximum(dof, 1), self.pooled)
        return variance, np.where(has_mean, dof, total), np.where(has_mean, dof / np.where(has_mean, dof - 2, 1.0), 1.0)

    @property
    def spreads(self) -> list[Spread | None]:
        """The spread of each entrant, averaged over levels; ``None`` for entrants without several runs."""
        variance, _, expected = self.reference
        is_known = np.asarray((self.dof > 0) & (variance > 0))
        ratios = self.squares / np.maximum(self.dof, 1) / np.where(is_known, variance * expected, np.inf)
        return [
            Spread(float(ratio.sum() / known.sum()), float(dof.max())) if known.any() else None
            for ratio, dof, known in zip(ratios, self.dof, is_known, strict=True)
        ]


def _runs(by_seed: Array, relative: bool) -> _Runs | None:
    """Return the runs with means (E, L, R); ``None`` if the runs of no entrant differ."""
    is_present = ~np.isnan(by_seed)
    counts, values = is_present.sum(axis=2), np.where(is_present, by_seed, 0.0)
    means = values.sum(axis=2) / np.maximum(counts, 1)
    deviations = np.where(is_present, by_seed - means[..., None], 0.0)
    differs = np.abs(deviations).max(axis=(1, 2)) > 1e-12 * np.abs(values).max(axis=(1, 2))
    dof = np.where(differs[:, None], np.maximum(counts - 1, 0), 0).astype(np.float64)
    if not dof.any():
        return None
    # An entrant with a single run among entrants with several is trained, too.
    is_trained = differs | ((counts.max(axis=1) == 1) & (by_seed.shape[2] > 1))
    scale = np.where(relative & (means != 0), means, 1.0)
    return _Runs(deviations / scale[..., None], counts.astype(np.float64), dof, scale, is_trained)


def _is_relative(by_seed: Array) -> bool:
    """Return whether variances relative to squared means are more equal between entrants than absolute variances."""
    absolute, relative = _runs(by_seed, False), _runs(by_seed, True)
    if absolute is None or relative is None:
        return False
    is_known = (absolute.dof > 0) & (absolute.squares > 0)
    # With relative variances, the scale is the mean.
    if not is_known.any() or relative.scale[is_known].min() <= 0:
        return False
    difference = 0.0
    for level in np.flatnonzero(is_known.sum(axis=0) >= _MIN_ENTRANTS):
        chosen = is_known[:, level], level
        spreads = (np.log(runs.squares[chosen] / runs.dof[chosen]).var() for runs in (absolute, relative))
        difference += float(next(spreads) - next(spreads))
    return difference > 0


def degrees_of_freedom(ratio: float, dof: float, pooled: float) -> float:
    """Return the degrees of freedom of the larger of an entrant's own variance and the pooled variance.

    ``ratio`` is the own variance in units of the pooled variance. The larger variance is the pooled variance and an
    excess, with ``pooled`` and ``dof`` degrees of freedom. Satterthwaite's approximation weights the inverse degrees of
    freedom by the squared shares of both parts. Since the larger variance is chosen after both are known, the shares
    themselves are the weights, which gives fewer degrees of freedom.
    """
    from scipy.special import chdtri

    # With few degrees of freedom most estimates of a large ratio are too small, so correct for their median.
    excess = 1 - 1 / max(ratio * dof / float(chdtri(dof, 0.5)), 1.0)
    return 1 / (excess / dof + (1 - excess) / pooled)


def relative_variances(by_seed: Array) -> dict[int, Spread]:
    """Return the spread over seeds of each entrant, by index, from means over images (E, ..., R)."""
    by_seed = _by_level(by_seed)
    runs = _runs(by_seed, _is_relative(by_seed))
    spreads = [] if runs is None else runs.spreads
    return {index: spread for index, spread in enumerate(spreads) if spread is not None}


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
    levels = _by_level(by_seed)
    effects = np.zeros((draws, *levels.shape[:2]))
    pooled = [index for index in range(len(levels)) if index not in excluded]
    is_relative = _is_relative(levels[pooled]) if relative is None else relative
    for group in (pooled, *([index] for index in excluded)):
        runs, labels = _runs(levels[group], is_relative), [names[index] for index in group]
        if runs is not None:
            own = runs.spreads if spreads is None else [spreads.get(label) for label in labels]
            effects[:, group] = _draw_effects(runs, own if group is pooled else [None], draws, seed, labels)
    return effects.reshape(draws, *by_seed.shape[:-1])


def _by_level(by_seed: Array) -> Array:
    """Return means over images (E, ..., R) as an array (E, L, R)."""
    return by_seed.reshape(len(by_seed), int(np.prod(by_seed.shape[1:-1])), by_seed.shape[-1])


def _draw_effects(runs: _Runs, spreads: Sequence[Spread | None], draws: int, seed: int, names: Sequence[str]) -> Array:
    """Return draws of the effect of seeds, shape (draws, E, L), with the spread of each entrant."""
    # Correlations between levels are estimated from the entrants that have both levels.
    dof, spread = runs.dof.sum(axis=0), np.sqrt(runs.pooled)
    products = np.einsum("elr,emr->lm", runs.deviations, runs.deviations)
    shared_dof = np.minimum(runs.dof[:, :, None], runs.dof[:, None, :]).sum(axis=0)
    correlation = products / np.maximum(shared_dof, 1) / np.maximum(np.outer(spread, spread), 1e-300)
    eigenvalues, eigenvectors = np.linalg.eigh(correlation)
    root = eigenvectors * np.sqrt(np.clip(eigenvalues, 0, None))
    root /= np.maximum(np.sqrt((root**2).sum(axis=1, keepdims=True)), 1e-300)
    effects = np.zeros((draws, *runs.dof.shape))
    references, reference_dof, _ = runs.reference
    for index in np.flatnonzero(runs.is_trained).tolist():
        own = spreads[index]
        variance = runs.pooled if own is None else np.maximum(own.ratio * references[index], runs.pooled)
        degrees = dof if own is None else reference_dof[index]
        tails = np.ones((draws, len(dof)))
        for level in np.flatnonzero(dof > 0):
            own_dof = _dof(own, float(runs.dof[index, level]), float(degrees[level]))
            # Degrees of freedom are rounded down to a step of 2 %, so that their quantiles can be cached.
            tails[:, level] = _tails(seed, draws, math.floor(math.log(own_dof) / _DOF_STEP + 1e-9))
        generator = np.random.default_rng([seed, _STREAM, crc32(names[index].encode())])
        normal = (generator.standard_normal((draws, len(dof))) @ root.T) * tails * np.sqrt(variance)
        effects[:, index] = runs.scale[index] * normal / np.sqrt(np.maximum(runs.counts[index], 1))
    return effects


def _dof(spread: Spread | None, here: float, pooled: float) -> float:
    """Return the degrees of freedom of an entrant's variance, of which ``here`` are from its runs on this dataset."""
    if spread is None:
        return pooled
    # The ratio on other datasets applies to this dataset through the pooled variance, which is uncertain, too.
    elsewhere = max(spread.dof - here, 0.0) / spread.dof
    return degrees_of_freedom(spread.ratio, 1 / (1 / spread.dof + elsewhere / pooled), pooled)


@lru_cache(maxsize=512)
def _tails(seed: int, draws: int, steps: int) -> Array:
    """Return draws of sqrt(df / chi^2), shape (draws,), from the same uniform numbers for all degrees of freedom."""
    from scipy.special import chdtri

    dof = math.exp(steps * _DOF_STEP)
    uniform = np.random.default_rng([seed, _STREAM]).uniform(size=draws)
    return np.asarray(np.sqrt(dof / chdtri(dof, 1 - uniform)))
