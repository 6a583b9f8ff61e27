"""Training seeds as a random effect: the variance between the runs of an entrant, and draws of the effect.

Two or three seeds determine the variance between the runs of one entrant poorly, so it is pooled over the entrants of
an array: relative to their squared means if that makes variances more equal. An entrant with a larger variance keeps
it: the pooled variance of the other entrants, which its own does not raise, times the ratio of its own to it, averaged
over datasets and divided by the mean of the distribution F, which ratios of equal variances have. If this mean is
infinite, the ratio is to the pooled variance of all entrants.

A draw adds to an entrant's resampled mean a Gaussian effect with the variance of the mean over its R seeds, s^2 / R,
the covariance of runs between levels, and the tails of a t statistic. Effects of entrants are independent, so that the
difference of entrants a and b has the variance s_a^2 / R_a + s_b^2 / R_b. Entrants that are left out of comparisons
have the effect that they would have alone. ``python tests/bench/interval_coverage.py`` simulates coverage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Index of the random stream, different from the stream for images.
_STREAM = 1
#: Absolute and relative variances are compared only with at least this many entrants.
_MIN_ENTRANTS = 3


class Spread(NamedTuple):
    """The variance of an entrant over seeds, relative to that of other entrants, and its degrees of freedom, or 0."""

    ratio: float = 0.0
    dof: float = 0.0


class _Runs:
    """Deviations (E, L, R) of training runs from the mean of their entrant, in units of a scale (E, L), for L levels.

    ``reference`` (E, L) is the variance to which that of each entrant is compared, with ``reference_dof`` degrees of
    freedom, and ``spreads`` holds the ratio of each entrant, averaged over levels.
    """

    def __init__(self, by_seed: Array, relative: bool) -> None:
        is_present = ~np.isnan(by_seed)
        self.counts, values = is_present.sum(axis=2), np.where(is_present, by_seed, 0.0)
        means = values.sum(axis=2) / np.maximum(self.counts, 1)
        deviations = np.where(is_present, by_seed - means[..., None], 0.0)
        differs = np.abs(deviations).max(axis=(1, 2)) > 1e-12 * np.abs(values).max(axis=(1, 2))
        self.scale = np.where(relative & (means != 0), means, 1.0)
        self.deviations = deviations / self.scale[..., None]
        #: Entrants whose runs do not differ have no degrees of freedom.
        self.dof = np.where(differs[:, None], np.maximum(self.counts - 1.0, 0.0), 0.0)
        self.squares = (self.deviations**2).sum(axis=2)
        others, dof = self.squares.sum(axis=0) - self.squares, self.dof.sum(axis=0) - self.dof
        # With two degrees of freedom or fewer, the mean of the distribution F is infinite.
        has_mean = (dof > 2) & (others > 0)
        self.reference_dof = np.where(has_mean, dof, self.dof.sum(axis=0))
        self.reference = np.where(has_mean, others, self.squares.sum(axis=0)) / np.maximum(self.reference_dof, 1)
        expected = np.where(has_mean, dof / np.where(has_mean, dof - 2, 1), 1.0) * self.reference
        is_known = (self.dof > 0) & (self.reference > 0)
        ratios = self.squares / np.where(is_known, self.dof * expected, np.inf)
        self.spreads = [
            Spread(float(ratio.sum() / known.sum()), float(own_dof.max())) if known.any() else Spread()
            for ratio, own_dof, known in zip(ratios, self.dof, is_known, strict=True)
        ]

    @classmethod
    def of(cls, by_seed: Array, relative: bool | None = None) -> _Runs:
        """Return the runs, relative to means if that makes variances more equal between entrants, or as demanded."""
        absolute, scaled = cls(by_seed, False), cls(by_seed, True)
        if relative is None:
            is_known = (absolute.dof > 0) & (absolute.squares > 0)
            relative = bool(is_known.any()) and bool(scaled.scale[is_known].min() > 0)
            levels = np.flatnonzero(is_known.sum(axis=0) >= _MIN_ENTRANTS)
            chosen = [(is_known[:, level], level) for level in levels]
            first, second = (
                sum(np.log(runs.squares[at] / runs.dof[at]).var() for at in chosen) for runs in (absolute, scaled)
            )
            relative = relative and first > second
        return scaled if relative else absolute


def spreads_of_entrants(by_seed: Array) -> list[Spread]:
    """Return the spread over seeds of each entrant from means over images (E, ..., R)."""
    return _Runs.of(by_seed.reshape(len(by_seed), -1, by_seed.shape[-1])).spreads


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
    levels = by_seed.reshape(len(by_seed), -1, by_seed.shape[-1])
    effects = np.zeros((draws, *levels.shape[:2]))
    group = [index for index in range(len(levels)) if index not in excluded]
    pooled = _Runs.of(levels[group], relative)
    own = pooled.spreads if spreads is None else [spreads.get(names[index], Spread()) for index in group]
    effects[:, group] = _draw_effects(pooled, own, draws, seed, [names[index] for index in group])
    for index in excluded:
        runs = _Runs.of(levels[[index]], relative)
        effects[:, [index]] = _draw_effects(runs, [Spread()], draws, seed, [names[index]])
    return effects.reshape(draws, *by_seed.shape[:-1])


def _draw_effects(runs: _Runs, spreads: Sequence[Spread], draws: int, seed: int, names: Sequence[str]) -> Array:
    """Return draws of the effect of seeds, shape (draws, E, L), with the spread of each entrant."""
    effects, dof = np.zeros((draws, *runs.dof.shape)), runs.dof.sum(axis=0)
    if not dof.any():
        return effects
    deviations = runs.deviations.swapaxes(1, 2).reshape(-1, len(dof)) / np.sqrt(np.maximum(dof, 1))
    # In the QR decomposition of deviations, R is a root of their covariance; signs depend on the order of entrants.
    root = np.asarray(np.linalg.qr(deviations, mode="r"))
    root, pooled = root * np.where(np.diag(root) < 0, -1.0, 1.0)[:, None], (deviations**2).sum(axis=0)
    for index, own in enumerate(spreads):
        here, counts = float(runs.dof[index].max()), runs.counts[index]
        # An entrant with a single run among entrants with several is trained, too.
        if here or counts.max() == 1 < runs.deviations.shape[2]:
            degrees = degrees_of_freedom(own, here, float(runs.reference_dof[index, dof > 0].min()))
            generator = np.random.default_rng([seed, _STREAM, crc32(names[index].encode())])
            normal = generator.standard_normal((draws, len(root))) @ root * _tails(seed, draws, round(degrees, 1))
            larger = np.maximum(own.ratio * runs.reference[index] / np.where(pooled > 0, pooled, 1.0), 1.0)
            effects[:, index] = normal * runs.scale[index] * np.sqrt(larger / np.maximum(counts, 1))
    return effects


def degrees_of_freedom(own: Spread, here: float, pooled: float) -> float:
    """Return the degrees of freedom of the larger of an entrant's own variance and the pooled variance.

    The larger variance is the pooled variance and an excess; inverse degrees of freedom are weighted by the shares of
    both. Of the entrant's own, ``here`` are from this dataset; the ratio on other datasets applies to this dataset
    through the pooled variance, which is uncertain, too.
    """
    own_dof = max(own.dof, 1.0)
    # Most estimates of a large ratio with few degrees of freedom are too small, so correct for their median.
    excess = 1 - 1 / max(own.ratio / (1 - 2 / (9 * own_dof)) ** 3, 1.0)
    return 1 / (excess / own_dof + (1 - excess * here / own_dof) / pooled)


@lru_cache(maxsize=512)
def _tails(seed: int, draws: int, dof: float) -> Array:
    """Return draws of sqrt(df / chi^2), shape (draws, 1): quantiles in an order that all degrees of freedom share."""
    from scipy.special import chdtri

    order = np.random.default_rng([seed, _STREAM]).permutation(draws)
    return np.asarray(np.sqrt(dof / chdtri(dof, (order[:, None] + 0.5) / draws)))
