"""Distances of denoisers from the optimum, and a check that none is beyond it.

The optimum of a dataset is a row of its board: of kind ``optimal`` where it is exact, or of kind ``bound``,
which no denoiser's expected error can be below. Optimality is a matter of the mean squared error over the
distribution, so everything here compares means of squared errors, not means of the images' PSNR.

The metric ``optimum-distance`` gives the mean squared distance D of a denoiser from the best one, or from the genie of
a bound, and the error MSE* of the best one in closed form. For what sees the noisy image alone, MSE = MSE* + D on
average, by Pythagoras, and D is never negative. Where a suite does not measure it, and for oracles, which see the clean
image, D is the difference of errors.

- **Deficit**: 10 log10(1 + D / MSE*), in dB. With a bound in place of the optimum it is the largest that the deficit
  can be; the smallest is that against the smallest error of all the trained and classical denoisers of the board, since
  the optimum is no worse than any of them.
- **KL bound**: the integral over sigma of D sigma^-3, in nats per pixel and channel, which bounds how far
  the density that a denoiser models is from the true one (Kadkhodaie 2024, equation 5). It covers the noise levels of
  the suite, from the lowest to the highest, and nothing beyond; between them the integrand times sigma is taken as
  linear in log sigma. With a genie in place of the optimum it bounds the divergence too, more loosely. The other end of
  the bracket, against the best denoiser of the board, bounds nothing: the bound would be there were that one optimal.
- **Check**: the metric ``optimum-cross`` has mean 0 for all that see the noisy image alone. Where it is above 0 by more
  than 3 standard errors (over images; with few, by a quantile of the t distribution; more where there are many
  comparisons), the entrant is nearer to the clean images than can be; where it is as far below, the optimum is not the
  best. Where a suite does not measure it, an entrant is reported whose mean error is smaller than the optimum's by as
  much (of the logarithm of their ratio, by the delta method): then that entrant or the optimum is wrong. Such an
  entrant is not the best of its board, nor is one that is left out (:mod:`gahbench.board.scorecube`): the lower ends of
  others' deficits do not refer to it.
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
from gahbench.board.statistics import Array, bootstrap_means, estimate, estimates, means
from gahbench.board.tables import plain

if TYPE_CHECKING:
    from gahbench.board.scorecube import ScoreCube

CHECKED_KINDS = (*PRACTICAL_KINDS, "optimal")
#: A ratio of errors that is closer to 1 than this is 1.
_ROUNDING = 1e-6
#: Draws of errors are no smaller than this share of the mean.
_LEAST = 1e-3
#: An entrant beyond the optimum by more standard errors than this is reported.
STANDARD_ERRORS = 3.0
#: Metrics that compare each image with the optimum.
DISTANCE, OPTIMAL_ERROR, CROSS = "optimum-distance", "optimum-distance.optimal-error", "optimum-cross"


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances from the optimum, on the axes of a dataset's PSNR, shape (E, S, R, N); NaN where not measured."""

    distance: Array
    optimal: Array
    cross: Array

    @classmethod
    def of(cls, cube: ScoreCube, others: Mapping[str, ScoreCube]) -> Distances:
        """Lay out those metrics that were measured."""
        laid = {name: others[name].laid_like(cube) for name in (DISTANCE, OPTIMAL_ERROR, CROSS) if name in others}
        unknown = np.full(cube.values.shape, np.nan)
        return cls(*(laid.get(name, unknown) for name in (DISTANCE, OPTIMAL_ERROR, CROSS)))


@dataclass(frozen=True)
class Beyond:
    """An entrant that is nearer to the clean images than the optimum allows, by a number of standard errors."""

    entrant: str
    sigma: float
    standard_errors: float

    def record(self) -> dict[str, Any]:
        """Return it as JSON's types; infinitely many standard errors, as of an exact multiple, are ``None``."""
        return {name: plain(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class OptimumCheck:
    """The comparison of entrants with a dataset's optimum."""

    optimum: str
    kind: Literal["exact", "bracket"]
    entrants: int
    comparisons: int
    missed: int
    beyond: tuple[Beyond, ...]
    accused: tuple[Beyond, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        lists = {"beyond": self.beyond, "accused": self.accused}
        return {**asdict(self), **{name: [found.record() for found in those] for name, those in lists.items()}}


def optimality_values(
    dataset: str,
    cube: ScoreCube,
    kinds: dict[str, str],
    distances: Distances,
    check: OptimumCheck,
    spreads: Mapping[str, float],
) -> Iterator[Value]:
    """Yield the values of the board that compare with the optimum."""
    best = cube.entrants.index(check.optimum)
    middle, drawn = _mean_errors(cube, best, distances, spreads)
    ends = {"": (middle[best], drawn[:, best])}
    wrong = {found.entrant for found in check.beyond}
    practical = [
        index
        for index, label in enumerate(cube.entrants)
        if kinds.get(label) in PRACTICAL_KINDS and label not in wrong and label not in cube.left_out
    ]
    if check.kind == "bracket" and practical:
        smallest = np.asarray(practical)[np.nanargmin(np.nan_to_num(middle[practical], nan=np.inf), axis=0)]
        levels = np.arange(len(cube.sigmas))
        ends["min"] = (middle[smallest, levels], drawn[:, smallest, levels])
    for index, label in enumerate(cube.entrants):
        if index == best:
            continue
        for part, (at, draw) in ends.items():
            deficit, deficits = decibels(middle[index] / at), decibels(drawn[:, index] / draw)
            yield Value(dataset, label, "deficit", part, None, estimate(deficit.mean(), deficits.mean(axis=1)))
            for sigma, found in zip(cube.sigmas, estimates(deficit, deficits), strict=True):
                yield Value(dataset, label, "deficit", part, sigma, found)
            if len(cube.sigmas) > 1:
                excess = kl_bound(cube.sigmas, middle[index] - at)
                divergence = estimate(excess, kl_bound(cube.sigmas, drawn[:, index] - draw))
                yield Value(dataset, label, "kl", part, None, divergence)


def _mean_errors(cube: ScoreCube, best: int, distances: Distances, spreads: Mapping[str, float]) -> tuple[Array, Array]:
    """Return mean errors, shape (E, S), and draws of them, (D, E, S), of entrants among which one is the optimum."""
    errors = squared_errors(cube, best, distances)
    middle = means(errors)
    drawn = bootstrap_means(
        errors, names=cube.entrants, spreads=spreads, sources=cube.sources, relative=True, apart=cube.left_out
    )
    # Errors are positive, and no smaller than the optimum's where they are that and a distance.
    drawn = np.maximum(drawn, _LEAST * middle)
    known = np.isfinite(means(distances.distance)) & np.isfinite(middle[best])
    return middle, np.where(known, np.maximum(drawn, drawn[:, [best]]), drawn)


def check_optimum(cube: ScoreCube, kinds: dict[str, str], distances: Distances) -> OptimumCheck | None:
    """Compare every trained and classical entrant with the optimum; ``None`` where none is known."""
    found = _optimum(cube, kinds)
    if found is None:
        return None
    best, kind = found
    errors, crosses = (_by_source(_over_seeds(one), cube.sources) for one in (squared_errors(cube), distances.cross))
    count = errors.shape[-1]
    compared = [
        index for index, label in enumerate(cube.entrants) if index != best and kinds.get(label) in CHECKED_KINDS
    ]
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(errors.mean(axis=2)))
    known: NDArray[np.bool_] = finite & finite[best] & (count > 1)
    done = known[compared]
    crossed: NDArray[np.bool_] = np.asarray(np.isfinite(crosses).all(axis=2))
    # Under the null hypothesis that no entrant saw the clean image, the largest of many products deviates by chance.
    # Comparisons of entrants that are left out do not count.
    counted = [cube.entrants[index] not in cube.left_out for index in compared]
    required = _required_errors(count), _required_errors(count, int((done & crossed[compared])[counted].sum()))
    beyond: list[Beyond] = []
    accused: list[Beyond] = []
    for index, (place, sigma) in product(compared, enumerate(cube.sigmas)):
        if not known[index, place]:
            continue
        if crossed[index, place]:
            by = _by_cross(crosses[index, place], float(errors[best, place].mean()))
            if by < -required[1]:
                accused.append(Beyond(cube.entrants[index], sigma, -by))
        else:
            by = _by_errors(errors[index, place], errors[best, place])
        if by > required[int(crossed[index, place])]:
            beyond.append(Beyond(cube.entrants[index], sigma, by))
    return OptimumCheck(
        cube.entrants[best],
        kind,
        int(done.any(axis=1).sum()),
        int(done.sum()),
        int((~done).sum()),
        tuple(beyond),
        tuple(accused),
    )


def _by_source(values: Array, sources: Sequence[int] | None) -> Array:
    """Return means over the images of each source, shape (E, S, C), of values (E, S, N)."""
    if sources is None:
        return values
    _, groups = np.unique(np.asarray(sources), return_inverse=True)
    return np.stack([values[..., groups == group].mean(axis=-1) for group in range(groups.max() + 1)], axis=-1)


def _by_cross(cross: Array, optimal: float) -> float:
    """Return the mean of inner products (N,) in standard errors; 0 where it is rounding."""
    mean, error = float(cross.mean()), float(cross.std(ddof=1)) / np.sqrt(len(cross))
    if abs(mean) <= _ROUNDING * optimal:
        return 0.0
    return mean / error if error else float(np.copysign(np.inf, mean))


def _by_errors(own: Array, best: Array) -> float:
    """Return by how many standard errors errors (N,) are smaller than the best ones."""
    mean, optimal = own.mean(), best.mean()
    if mean >= optimal * (1 - _ROUNDING):
        return 0.0
    error = float((own / mean - best / optimal).std(ddof=1)) / np.sqrt(len(own))
    ratio = float(np.log(optimal / mean))
    return ratio / error if error else np.inf


def _over_seeds(values: Array) -> Array:
    """Return means over the seeds that are there, shape (E, S, N)."""
    with warnings.catch_warnings():
        # All seeds may be missing.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=2))


def _required_errors(images: int, comparisons: int = 1) -> float:
    """Return how many standard errors count: 3, or as many as are as rare with few images and many comparisons."""
    from scipy.stats import norm, t

    return float(t.isf(norm.sf(STANDARD_ERRORS) / max(1, comparisons), images - 1)) if images > 1 else np.inf


def kl_bound(sigmas: ArrayLike, excess: ArrayLike) -> Array:
    """Return the integral of excess error times sigma^-3 over the noise levels given."""
    levels = np.asarray(sigmas, dtype=np.float64)
    # In log sigma the integrand is excess / sigma^2, which varies far less than excess / sigma^3 in sigma.
    integrand = np.asarray(excess, dtype=np.float64) / levels**2
    return np.asarray(((integrand[..., 1:] + integrand[..., :-1]) / 2) @ np.diff(np.log(levels)))


def squared_errors(cube: ScoreCube, best: int | None = None, distances: Distances | None = None) -> Array:
    """Return mean squared errors per pixel, shape (E, S, R, N)."""
    errors = np.asarray(10.0 ** (-cube.values / 10))
    if best is None or distances is None or not np.isfinite(distances.optimal).any():
        return errors
    # At a noise level all entrants with distances have the same optimum.
    optimal = np.nanmax(
        np.where(np.isfinite(distances.optimal), distances.optimal, -np.inf), axis=(0, 2), keepdims=True
    )
    known = np.isfinite(distances.distance) & np.isfinite(optimal)
    errors = np.where(known, optimal + distances.distance, errors)
    errors[best] = np.where(np.isfinite(optimal[0]), optimal[0], errors[best])
    return errors


def _optimum(cube: ScoreCube, kinds: dict[str, str]) -> tuple[int, Literal["exact", "bracket"]] | None:
    """Return which entrant is the optimum, if one is, and whether it is exact."""
    known: tuple[tuple[str, str, Literal["exact", "bracket"]], ...] = (
        ("optimal", "optimal", "exact"),
        ("bound", "lower-bound", "bracket"),
    )
    for kind, own, meaning in known:
        labels = [label for label in cube.entrants if kinds.get(label) == kind]
        if labels:
            return cube.entrants.index(own if own in labels else labels[0]), meaning
    return None
