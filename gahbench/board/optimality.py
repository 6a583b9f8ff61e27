"""Distances of denoisers from the optimum, and a check that no denoiser beats the optimum.

The optimum of a dataset is a row of its board, of kind ``optimal`` if it is exact, or of kind ``bound`` if it is a
lower bound on the expected error of all denoisers. The optimum minimises the mean squared error over the distribution,
so this module compares means of squared errors, not means of the images' PSNR.

The metric ``optimum-distance`` gives the mean squared distance D of a denoiser from the best denoiser, or from the
genie of a bound, and the error MSE* of the best denoiser in closed form. For denoisers that see only the noisy image,
MSE = MSE* + D on average, by Pythagoras, and D is never negative. If a suite does not measure the distance, and for
oracles, which see the clean image, D is the difference of errors.

- **Deficit**: 10 log10(1 + D / MSE*), in dB. With a bound in place of the optimum, this is the largest possible
  deficit. The smallest possible deficit is relative to the smallest error of all trained and classical denoisers of
  the board, since the optimum is at least as good as each of them.
- **KL bound**: the integral over sigma of D sigma^-3, in nats per pixel and channel, from the lowest to the highest
  noise level, which bounds the divergence between the density that a denoiser models and the true density (Kadkhodaie
  2024, equation 5). With a genie in place of the optimum it is a looser bound. The other end of the bracket, relative
  to the best denoiser of the board, is the value that the bound would have if that denoiser were optimal.
- **Check**: the metric ``optimum-cross`` has mean 0 for all denoisers that see only the noisy image. If it is above 0
  by more than 3 standard errors over images (more with few images or many comparisons), the entrant is nearer to the
  clean images than possible; if it is as far below 0, the optimum is not the best denoiser. If a suite does not measure
  this metric, an entrant is reported if the logarithm of the ratio of its mean error to that of the optimum is as far
  below 0. Reported entrants, and entrants that are left out (:mod:`gahbench.board.cube`), do not count as best denoiser
  of the board.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.board.statistics import Array, interval, means, sampled_means, with_mean
from gahbench.board.tables import value_rows

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.cube import ScoreCube

_CHECKED_KINDS = (*PRACTICAL_KINDS, "optimal")
#: The kind of the rows of an optimum, and the preferred label, by what the optimum is.
_OPTIMA: dict[Literal["exact", "bracket"], tuple[str, str]] = {
    "exact": ("optimal", "optimal"),
    "bracket": ("bound", "lower-bound"),
}
#: Relative differences of errors below this are rounding.
_RELATIVE_ROUNDING = 1e-6
#: Draws of errors are clipped below at this share of the mean.
_SMALLEST_DRAW = 1e-3
#: Entrants that beat the optimum by more than this number of standard errors are reported.
STANDARD_ERRORS = 3.0
#: Metrics that compare each image with the optimum.
DISTANCE, OPTIMAL_ERROR, CROSS = "optimum-distance", "optimum-distance.optimal-error", "optimum-cross"


class Distances(NamedTuple):
    """Distances from the optimum on the axes of a dataset's PSNR, shape (E, S, R, N); NaN if not measured."""

    distance: Array
    optimal: Array
    cross: Array

    @classmethod
    def from_cubes(cls, cube: ScoreCube, others: Mapping[str, ScoreCube]) -> Distances:
        """Return the measured metrics of other cubes on the axes of a cube."""
        unknown = np.full(cube.values.shape, np.nan)
        names = (DISTANCE, OPTIMAL_ERROR, CROSS)
        return cls(*(others[name].reindex_like(cube) if name in others else unknown for name in names))


@dataclass(frozen=True)
class Deviation:
    """A deviation of an entrant's scores beyond the limit that the optimum sets, in standard errors."""

    entrant: str
    sigma: float
    standard_errors: float


@dataclass(frozen=True)
class OptimumCheck:
    """The comparison of entrants with a dataset's optimum.

    ``missed`` is the number of comparisons that lack scores or images. ``violations`` lists the entrants that are
    nearer to the clean images than the optimum allows; ``refutations`` lists the entrants whose scores show that the
    optimum is not the best denoiser.
    """

    optimum: str
    kind: Literal["exact", "bracket"]
    entrants: int
    comparisons: int
    missed: int
    violations: tuple[Deviation, ...]
    refutations: tuple[Deviation, ...] = ()


def optimality_values(
    dataset: str,
    cube: ScoreCube,
    kinds: dict[str, str],
    distances: Distances,
    check: OptimumCheck,
    has_divergence: bool = True,
) -> Iterator[pd.DataFrame]:
    """Yield the deficit of each entrant and, under white noise, the KL bound."""
    best = cube.entrants.index(check.optimum)
    # At each noise level all entrants with distances have the same optimum.
    is_measured = np.isfinite(distances.optimal)
    optimal = np.max(distances.optimal, axis=(0, 2), keepdims=True, initial=-np.inf, where=is_measured)
    is_known = np.isfinite(distances.distance) & np.isfinite(optimal)
    values = np.where(is_known, optimal + distances.distance, _squared_errors(cube))
    values[best] = np.where(np.isfinite(optimal[0]), optimal[0], values[best])
    errors, draws = sample_errors(values, cube.entrants, cube)
    # With a measured distance D >= 0, errors are not below the error of the optimum.
    is_bounded = np.isfinite(means(distances.distance)) & np.isfinite(errors[best])
    draws = np.where(is_bounded, np.maximum(draws, draws[:, [best]]), draws)
    references = {"": (errors[best].copy(), draws[:, best].copy())}
    violating_entrants = {value.entrant for value in check.violations}
    practical = [
        index
        for index, label in enumerate(cube.entrants)
        if kinds.get(label) in PRACTICAL_KINDS and label not in violating_entrants and label not in cube.left_out
    ]
    if check.kind == "bracket" and practical:
        smallest = np.array(practical)[np.argmin(np.nan_to_num(errors[practical], nan=np.inf), axis=0)]
        levels = np.arange(len(cube.sigmas))
        references["min"] = (errors[smallest, levels], draws[:, smallest, levels])
    # The optimum has no distance from itself.
    errors[best] = draws[:, best] = np.nan
    for part, (reference, reference_draws) in references.items():
        reference_draws = reference_draws[:, None]
        deficit, deficit_draws = (with_mean(decibels(ratio)) for ratio in (errors / reference, draws / reference_draws))
        sigmas = [np.nan, *cube.sigmas]
        yield value_rows(dataset, cube.entrants, "deficit", part, sigmas, deficit, *interval(deficit_draws))
        if has_divergence and len(cube.sigmas) > 1:
            excesses = (errors - reference, draws - reference_draws)
            bound, bound_draws = (kl_bound(cube.sigmas, excess) for excess in excesses)
            yield value_rows(dataset, cube.entrants, "kl", part, [np.nan], bound, *interval(bound_draws))


def decibels(ratio: Array) -> Array:
    """Return ratios of powers in decibels."""
    # An exact output has error 0, so the ratio of its error is -inf dB.
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(ratio))


def sample_errors(errors: Array, names: Sequence[str], cube: ScoreCube) -> tuple[Array, Array]:
    """Return means (E, S) of squared errors (E, S, R, N) on the images of a cube, and draws (D, E, S) above 0."""
    sample = sampled_means(
        errors, names=names, spreads=cube.spreads, sources=cube.sources, relative=True, excluded=cube.left_out
    )
    return sample.values, np.maximum(sample.draws(), _SMALLEST_DRAW * sample.values)


def check_optimum(cube: ScoreCube, kinds: dict[str, str], distances: Distances) -> OptimumCheck | None:
    """Compare trained, classical and optimal entrants with the optimum; ``None`` if the optimum is unknown."""
    optimum = _find_optimum(cube, kinds)
    if optimum is None:
        return None
    best, kind = optimum
    with warnings.catch_warnings():
        # Silence warnings about entrants without any seed, single images and differences without variation.
        warnings.simplefilter("ignore", RuntimeWarning)
        errors, crosses = (_by_source(values, cube.sources) for values in (_squared_errors(cube), distances.cross))
        count, mean = errors.shape[-1], errors.mean(axis=2)
        cross, relative = crosses.mean(axis=2), errors / mean[..., None] - errors[best] / mean[best][..., None]
        cross_ratios = cross / crosses.std(axis=2, ddof=1) * np.sqrt(count)
        error_ratios = np.log(mean[best] / mean) / relative.std(axis=2, ddof=1) * np.sqrt(count)
    has_cross = np.asarray(np.isfinite(crosses).all(axis=2))
    is_checked = np.array([kinds.get(label) in _CHECKED_KINDS for label in cube.entrants])
    is_checked[best] = False
    is_compared = is_checked[:, None] & np.isfinite(mean) & np.isfinite(mean[best]) & (count > 1)
    # Even if no entrant saw the clean image, the largest of many cross terms deviates by chance, so the threshold
    # grows with the number of comparisons. Comparisons of entrants that are left out do not count.
    is_counted = np.array([label not in cube.left_out for label in cube.entrants])[:, None]
    crossed = int((is_compared & has_cross & is_counted).sum())
    required = np.where(has_cross, *(_required_standard_errors(count, number) for number in (crossed, 1)))
    is_rounding = np.where(
        has_cross, np.abs(cross) <= _RELATIVE_ROUNDING * mean[best], mean >= mean[best] * (1 - _RELATIVE_ROUNDING)
    )
    ratios = np.where(is_rounding, 0.0, np.where(has_cross, cross_ratios, error_ratios))

    def deviations(is_beyond: NDArray[np.bool_], sign: int) -> tuple[Deviation, ...]:
        places = np.argwhere(is_compared & is_beyond).tolist()
        return tuple(Deviation(cube.entrants[i], cube.sigmas[j], sign * float(ratios[i, j])) for i, j in places)

    return OptimumCheck(
        cube.entrants[best],
        kind,
        int(is_compared.any(axis=1).sum()),
        int(is_compared.sum()),
        int((is_checked[:, None] & ~is_compared).sum()),
        deviations(ratios > required, 1),
        deviations(has_cross & (ratios < -required), -1),
    )


def _by_source(values: Array, sources: Sequence[int] | None) -> Array:
    """Return means over the available seeds, and over the images of each source, shape (E, S, C)."""
    by_image = np.asarray(np.nanmean(values, axis=2))
    if sources is None:
        return by_image
    return np.stack([by_image[..., np.asarray(sources) == source].mean(-1) for source in sorted(set(sources))], axis=-1)


def _required_standard_errors(images: int, comparisons: int) -> float:
    """Return the threshold in standard errors: 3, corrected for few images (t) and many comparisons (Bonferroni)."""
    from scipy.stats import norm, t

    return float(t.isf(norm.sf(STANDARD_ERRORS) / max(1, comparisons), images - 1)) if images > 1 else np.inf


def kl_bound(sigmas: ArrayLike, excess: ArrayLike) -> Array:
    """Return the integral over sigma of the excess error times sigma^-3, between the given noise levels."""
    levels = np.asarray(sigmas, dtype=np.float64)
    # Integrate excess / sigma^2 over log sigma, which varies far less than excess / sigma^3 over sigma.
    integrand = np.asarray(excess, dtype=np.float64) / levels**2
    return np.asarray(((integrand[..., 1:] + integrand[..., :-1]) / 2) @ np.diff(np.log(levels)))


def _squared_errors(cube: ScoreCube) -> Array:
    """Return mean squared errors per pixel, shape (E, S, R, N)."""
    return np.asarray(10.0 ** (-cube.values / 10))


def _find_optimum(cube: ScoreCube, kinds: dict[str, str]) -> tuple[int, Literal["exact", "bracket"]] | None:
    """Return the index of the optimum, and whether it is exact or a bracket; ``None`` without an optimum."""
    for meaning, (kind, preferred) in _OPTIMA.items():
        labels = [label for label in cube.entrants if kinds.get(label) == kind]
        if labels:
            return cube.entrants.index(preferred if preferred in labels else labels[0]), meaning
    return None
