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
- **KL bound**: the integral over sigma of D sigma^-3, in nats per pixel and channel, which bounds the divergence
  between the density that a denoiser models and the true density (Kadkhodaie 2024, equation 5). The integral covers
  the noise levels of the suite, from the lowest to the highest; between levels, the integrand times sigma is
  interpolated linearly in log sigma. With a genie in place of the optimum the integral is a looser bound. The other end
  of the bracket, relative to the best denoiser of the board, is not a bound, but the value that the bound would have
  if that denoiser were optimal.
- **Check**: the metric ``optimum-cross`` has mean 0 for all denoisers that see only the noisy image. If it is above 0
  by more than 3 standard errors over images, the entrant is nearer to the clean images than possible; if it is as far
  below 0, the optimum is not the best denoiser. The threshold is larger if there are few images (a quantile of the t
  distribution) or many comparisons. If a suite does not measure this metric, an entrant is reported if its mean error
  is smaller than the error of the optimum by more than 3 standard errors of the logarithm of their ratio (by the delta
  method), or more if there are few images: then the entrant or the optimum is wrong. Reported entrants, and entrants
  that are left out (:mod:`gahbench.board.scorecube`), do not count as best denoiser of the board.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench.board.board import Value
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.board.scorecube import decibels
from gahbench.board.statistics import Array, estimate, estimates, means, sampled_means
from gahbench.board.tables import plain

if TYPE_CHECKING:
    from gahbench.board.scorecube import ScoreCube
    from gahbench.board.seed_effects import Spread

CHECKED_KINDS = (*PRACTICAL_KINDS, "optimal")
#: Relative differences of errors below this are rounding.
_RELATIVE_ROUNDING = 1e-6
#: Draws of errors are clipped below at this share of the mean.
_SMALLEST_DRAW = 1e-3
#: Entrants that beat the optimum by more than this number of standard errors are reported.
STANDARD_ERRORS = 3.0
#: Metrics that compare each image with the optimum.
DISTANCE, OPTIMAL_ERROR, CROSS = "optimum-distance", "optimum-distance.optimal-error", "optimum-cross"


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances from the optimum on the axes of a dataset's PSNR, shape (E, S, R, N); NaN if not measured."""

    distance: Array
    optimal: Array
    cross: Array

    @classmethod
    def from_cubes(cls, cube: ScoreCube, others: Mapping[str, ScoreCube]) -> Distances:
        """Return the measured metrics of other cubes on the axes of a cube."""
        arrays = {name: others[name].reindex_like(cube) for name in (DISTANCE, OPTIMAL_ERROR, CROSS) if name in others}
        unknown = np.full(cube.values.shape, np.nan)
        return cls(*(arrays.get(name, unknown) for name in (DISTANCE, OPTIMAL_ERROR, CROSS)))


@dataclass(frozen=True)
class Deviation:
    """A deviation of an entrant's scores beyond the limit that the optimum sets, in standard errors."""

    entrant: str
    sigma: float
    standard_errors: float

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON types; an infinite number of standard errors is ``None``."""
        return {name: plain(value) for name, value in asdict(self).items()}


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

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        lists = {"violations": self.violations, "refutations": self.refutations}
        return {
            **asdict(self),
            **{name: [entrant.record() for entrant in entrants] for name, entrants in lists.items()},
        }


def optimality_values(
    dataset: str,
    cube: ScoreCube,
    kinds: dict[str, str],
    distances: Distances,
    check: OptimumCheck,
    spreads: Mapping[str, Spread],
    has_divergence: bool = True,
) -> Iterator[Value]:
    """Yield the deficit of each entrant and, under white noise, the KL bound."""
    best = cube.entrants.index(check.optimum)
    errors, error_draws = _mean_errors(cube, best, distances, spreads)
    references = {"": (errors[best], error_draws[:, best])}
    violating_entrants = {value.entrant for value in check.violations}
    practical_indices = [
        index
        for index, label in enumerate(cube.entrants)
        if kinds.get(label) in PRACTICAL_KINDS and label not in violating_entrants and label not in cube.left_out
    ]
    if check.kind == "bracket" and practical_indices:
        smallest = np.asarray(practical_indices)[
            np.nanargmin(np.nan_to_num(errors[practical_indices], nan=np.inf), axis=0)
        ]
        levels = np.arange(len(cube.sigmas))
        references["min"] = (errors[smallest, levels], error_draws[:, smallest, levels])
    for index, label in enumerate(cube.entrants):
        if index == best:
            continue
        for part, (reference, reference_draws) in references.items():
            deficit, deficit_draws = (
                decibels(errors[index] / reference),
                decibels(error_draws[:, index] / reference_draws),
            )
            yield Value(dataset, label, "deficit", part, None, estimate(deficit.mean(), deficit_draws.mean(axis=1)))
            for sigma, value in zip(cube.sigmas, estimates(deficit, deficit_draws), strict=True):
                yield Value(dataset, label, "deficit", part, sigma, value)
            if has_divergence and len(cube.sigmas) > 1:
                bound = kl_bound(cube.sigmas, errors[index] - reference)
                divergence = estimate(bound, kl_bound(cube.sigmas, error_draws[:, index] - reference_draws))
                yield Value(dataset, label, "kl", part, None, divergence)


def _mean_errors(
    cube: ScoreCube, best: int, distances: Distances, spreads: Mapping[str, Spread]
) -> tuple[Array, Array]:
    """Return mean squared errors, shape (E, S), and their draws, (D, E, S); ``best`` is the index of the optimum."""
    errors = squared_errors(cube, best, distances)
    mean_errors = means(errors)
    draws = sampled_means(
        errors, names=cube.entrants, spreads=spreads, sources=cube.sources, relative=True, excluded=cube.left_out
    ).draws()
    # Errors are positive. With a measured distance D >= 0, they are not below the error of the optimum.
    draws = np.maximum(draws, _SMALLEST_DRAW * mean_errors)
    is_known = np.isfinite(means(distances.distance)) & np.isfinite(mean_errors[best])
    return mean_errors, np.where(is_known, np.maximum(draws, draws[:, [best]]), draws)


def check_optimum(cube: ScoreCube, kinds: dict[str, str], distances: Distances) -> OptimumCheck | None:
    """Compare trained, classical and optimal entrants with the optimum; ``None`` if the optimum is unknown."""
    optimum = _find_optimum(cube, kinds)
    if optimum is None:
        return None
    best, kind = optimum
    errors, crosses = (
        _means_over_sources(_means_over_seeds(values), cube.sources)
        for values in (squared_errors(cube), distances.cross)
    )
    count = errors.shape[-1]
    compared = [
        index for index, label in enumerate(cube.entrants) if index != best and kinds.get(label) in CHECKED_KINDS
    ]
    is_finite: NDArray[np.bool_] = np.asarray(np.isfinite(errors.mean(axis=2)))
    is_known: NDArray[np.bool_] = is_finite & is_finite[best] & (count > 1)
    is_compared = is_known[compared]
    has_cross: NDArray[np.bool_] = np.asarray(np.isfinite(crosses).all(axis=2))
    # Even if no entrant saw the clean image, the largest of many cross terms deviates by chance, so the threshold
    # grows with the number of comparisons. Comparisons of entrants that are left out do not count.
    is_counted = [cube.entrants[index] not in cube.left_out for index in compared]
    required = (
        _required_standard_errors(count),
        _required_standard_errors(count, int((is_compared & has_cross[compared])[is_counted].sum())),
    )
    violations: list[Deviation] = []
    refutations: list[Deviation] = []
    for index, (level, sigma) in product(compared, enumerate(cube.sigmas)):
        if not is_known[index, level]:
            continue
        if has_cross[index, level]:
            standard_errors = _cross_in_standard_errors(crosses[index, level], float(errors[best, level].mean()))
            if standard_errors < -required[1]:
                refutations.append(Deviation(cube.entrants[index], sigma, -standard_errors))
        else:
            standard_errors = _advantage_in_standard_errors(errors[index, level], errors[best, level])
        if standard_errors > required[int(has_cross[index, level])]:
            violations.append(Deviation(cube.entrants[index], sigma, standard_errors))
    return OptimumCheck(
        cube.entrants[best],
        kind,
        int(is_compared.any(axis=1).sum()),
        int(is_compared.sum()),
        int((~is_compared).sum()),
        tuple(violations),
        tuple(refutations),
    )


def _means_over_sources(values: Array, sources: Sequence[int] | None) -> Array:
    """Return means over the images of each source, shape (E, S, C), of values (E, S, N)."""
    if sources is None:
        return values
    _, groups = np.unique(np.asarray(sources), return_inverse=True)
    return np.stack([values[..., groups == group].mean(axis=-1) for group in range(groups.max() + 1)], axis=-1)


def _cross_in_standard_errors(cross: Array, optimal: float) -> float:
    """Return the mean of inner products (N,) in standard errors; 0 if the mean is rounding."""
    mean, error = float(cross.mean()), float(cross.std(ddof=1)) / np.sqrt(len(cross))
    if abs(mean) <= _RELATIVE_ROUNDING * optimal:
        return 0.0
    return mean / error if error else float(np.copysign(np.inf, mean))


def _advantage_in_standard_errors(errors: Array, best_errors: Array) -> float:
    """Return how far the squared errors (N,) of an entrant are below those of the optimum, in standard errors."""
    mean, optimal = errors.mean(), best_errors.mean()
    if mean >= optimal * (1 - _RELATIVE_ROUNDING):
        return 0.0
    error = float((errors / mean - best_errors / optimal).std(ddof=1)) / np.sqrt(len(errors))
    ratio = float(np.log(optimal / mean))
    return ratio / error if error else np.inf


def _means_over_seeds(values: Array) -> Array:
    """Return means over the available seeds, shape (E, S, N)."""
    with warnings.catch_warnings():
        # Silence the warning about entrants without any seed.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=2))


def _required_standard_errors(images: int, comparisons: int = 1) -> float:
    """Return the threshold in standard errors: 3, corrected for few images (t) and many comparisons (Bonferroni)."""
    from scipy.stats import norm, t

    return float(t.isf(norm.sf(STANDARD_ERRORS) / max(1, comparisons), images - 1)) if images > 1 else np.inf


def kl_bound(sigmas: ArrayLike, excess: ArrayLike) -> Array:
    """Return the integral over sigma of the excess error times sigma^-3, between the given noise levels."""
    levels = np.asarray(sigmas, dtype=np.float64)
    # Integrate excess / sigma^2 over log sigma, which varies far less than excess / sigma^3 over sigma.
    integrand = np.asarray(excess, dtype=np.float64) / levels**2
    return np.asarray(((integrand[..., 1:] + integrand[..., :-1]) / 2) @ np.diff(np.log(levels)))


def squared_errors(cube: ScoreCube, best: int | None = None, distances: Distances | None = None) -> Array:
    """Return mean squared errors per pixel, shape (E, S, R, N)."""
    errors = np.asarray(10.0 ** (-cube.values / 10))
    if best is None or distances is None or not np.isfinite(distances.optimal).any():
        return errors
    # At each noise level all entrants with distances have the same optimum.
    optimal = np.nanmax(
        np.where(np.isfinite(distances.optimal), distances.optimal, -np.inf), axis=(0, 2), keepdims=True
    )
    is_known = np.isfinite(distances.distance) & np.isfinite(optimal)
    errors = np.where(is_known, optimal + distances.distance, errors)
    errors[best] = np.where(np.isfinite(optimal[0]), optimal[0], errors[best])
    return errors


def _find_optimum(cube: ScoreCube, kinds: dict[str, str]) -> tuple[int, Literal["exact", "bracket"]] | None:
    """Return the index of the optimum, and whether it is exact or a bracket; ``None`` without an optimum."""
    candidates: tuple[tuple[str, str, Literal["exact", "bracket"]], ...] = (
        ("optimal", "optimal", "exact"),
        ("bound", "lower-bound", "bracket"),
    )
    for kind, preferred, meaning in candidates:
        labels = [label for label in cube.entrants if kinds.get(label) == kind]
        if labels:
            return cube.entrants.index(preferred if preferred in labels else labels[0]), meaning
    return None
