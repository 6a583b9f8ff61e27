"""Distances of denoisers from the optimum, and a check that none is better.

The optimum of a dataset is a row of its board: of kind ``optimal`` where it is exact, or of kind ``bound``,
which no denoiser's expected error can be below. Optimality is a matter of the mean squared error over the
distribution, so everything here compares means of squared errors, not means of the images' PSNR.

- **Deficit**: 10 log10 of the ratio of a denoiser's mean squared error to the optimal one, in dB. With a bound in place
  of the optimum it is the largest that the deficit can be; the smallest is that against the smallest error of all the
  trained and classical denoisers of the board, since the optimum is no worse than any of them.
- **KL bound**: the integral over sigma of [MSE - MSE*] sigma^-3, in nats per pixel and channel, which bounds how far
  the density that a denoiser models is from the true one (Kadkhodaie 2024, equation 5). It covers the noise levels of
  the suite, from the lowest to the highest, and nothing beyond; between them the integrand times sigma is taken as
  linear in log sigma. The bracket gives its two ends likewise.
- **Check**: no trained or classical entrant may have a smaller mean error than the optimum or the bound. One is
  reported where the logarithm of the ratio of the mean errors is negative by more than 3 standard errors (of the paired
  images, by the delta method; with few images by a quantile of the t distribution): then that entrant or the
  optimum is wrong. Such an entrant is not the best of its board: the lower ends of others' deficits do not refer to it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench.board.board import Value
from gahbench.board.schemas import plain
from gahbench.board.statistics import bootstrap_means, estimate, estimates, means

if TYPE_CHECKING:
    from gahbench.board.scorecube import ScoreCube

Array = NDArray[np.float64]

#: Kinds that could be used in practice: the optimum is no worse than any of them.
PRACTICAL_KINDS = ("trained", "classical")
CHECKED_KINDS = (*PRACTICAL_KINDS, "optimal")
#: A ratio of errors that is closer to 1 than this is 1.
_ROUNDING = 1e-6
#: An entrant beyond the optimum by more standard errors than this is reported.
STANDARD_ERRORS = 3.0


@dataclass(frozen=True)
class Beyond:
    """An entrant with a smaller error than the optimum at a noise level, by a number of standard errors."""

    entrant: str
    sigma: float
    standard_errors: float

    def record(self) -> dict[str, Any]:
        """Return it as JSON's types; infinitely many standard errors, as of an exact multiple, are ``None``."""
        return {name: plain(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class OptimumCheck:
    """The comparison of entrants with a dataset's optimum.

    Parameters
    ----------
    optimum
        Label of the row that is the optimum.
    kind
        ``exact`` or ``bracket``.
    entrants
        How many were compared at one noise level or more.
    comparisons
        How many pairs of entrant and noise level were compared.
    missed
        How many such pairs could not be: scores are missing on one side, or there is one image only.
    beyond
        Those that cannot be.
    """

    optimum: str
    kind: Literal["exact", "bracket"]
    entrants: int
    comparisons: int
    missed: int
    beyond: tuple[Beyond, ...]

    def record(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        return {**asdict(self), "beyond": [found.record() for found in self.beyond]}


def optimality_values(
    dataset: str, cube: ScoreCube, kinds: dict[str, str], check: OptimumCheck | None, draws: int, seed: int
) -> Iterator[Value]:
    """Yield the values of the board that compare with the optimum; none where it is not known.

    These are ``deficit``, the mean over noise levels and at each, and ``kl``; for a bracket also their part ``min``.

    Parameters
    ----------
    dataset
        Its label.
    cube
        Its PSNR.
    kinds
        Kind of each entrant.
    check
        Of :func:`check_optimum`.
    draws, seed
        Of the bootstrap.
    """
    if check is None:
        return
    best = cube.entrants.index(check.optimum)
    errors = squared_errors(cube)
    middle, drawn = means(errors), bootstrap_means(errors, draws, seed)
    ends = {"": (middle[best], drawn[:, best])}
    wrong = {found.entrant for found in check.beyond}
    practical = [
        index for index, label in enumerate(cube.entrants) if kinds.get(label) in PRACTICAL_KINDS and label not in wrong
    ]
    if check.kind == "bracket" and practical:
        smallest = np.asarray(practical)[np.nanargmin(np.nan_to_num(middle[practical], nan=np.inf), axis=0)]
        levels = np.arange(len(cube.sigmas))
        ends["min"] = (middle[smallest, levels], drawn[:, smallest, levels])
    for index, label in enumerate(cube.entrants):
        if index == best:
            continue
        for part, (at, draw) in ends.items():
            deficit, deficits = _decibels(middle[index] / at), _decibels(drawn[:, index] / draw)
            yield Value(dataset, label, "deficit", part, None, estimate(deficit.mean(), deficits.mean(axis=1)))
            for sigma, found in zip(cube.sigmas, estimates(deficit, deficits), strict=True):
                yield Value(dataset, label, "deficit", part, sigma, found)
            if len(cube.sigmas) > 1:
                excess = kl_bound(cube.sigmas, middle[index] - at)
                divergence = estimate(excess, kl_bound(cube.sigmas, drawn[:, index] - draw))
                yield Value(dataset, label, "kl", part, None, divergence)


def check_optimum(cube: ScoreCube, kinds: dict[str, str]) -> OptimumCheck | None:
    """Compare every trained and classical entrant with the optimum; ``None`` where none is known.

    Other entrants that claim to be optimal are compared too.

    Parameters
    ----------
    cube
        PSNR of a dataset.
    kinds
        Kind of each entrant.
    """
    found = _optimum(cube, kinds)
    if found is None:
        return None
    best, kind = found
    with warnings.catch_warnings():
        # All seeds may be missing.
        warnings.simplefilter("ignore", RuntimeWarning)
        images = np.nanmean(squared_errors(cube), axis=2)
    compared = [
        index for index, label in enumerate(cube.entrants) if index != best and kinds.get(label) in CHECKED_KINDS
    ]
    count = images.shape[-1]
    required, optimal = _required_errors(count), images[best].mean(axis=-1)
    beyond, there = [], np.zeros((len(compared), len(cube.sigmas)), dtype=bool)
    for row, index in enumerate(compared):
        mean = images[index].mean(axis=-1)
        there[row] = np.isfinite(mean) & np.isfinite(optimal) & (count > 1)
        for place in np.flatnonzero(there[row] & (mean < optimal * (1 - _ROUNDING))):
            influence = images[index, place] / mean[place] - images[best, place] / optimal[place]
            error = influence.std(ddof=1) / np.sqrt(count)
            ratio = float(np.log(optimal[place] / mean[place]))
            if ratio > required * error:
                beyond.append(Beyond(cube.entrants[index], cube.sigmas[place], ratio / error if error else np.inf))
    return OptimumCheck(
        cube.entrants[best],
        kind,
        int(there.any(axis=1).sum()),
        int(there.sum()),
        int((~there).sum()),
        tuple(beyond),
    )


def _required_errors(images: int) -> float:
    """Return how many standard errors count: 3, or as many as are as rare with few images."""
    from scipy.stats import norm, t

    return float(t.isf(norm.sf(STANDARD_ERRORS), images - 1)) if images > 1 else np.inf


def kl_bound(sigmas: ArrayLike, excess: ArrayLike) -> Array:
    """Return the integral of excess error times sigma^-3 over the noise levels given.

    Parameters
    ----------
    sigmas
        Noise levels, ascending, shape (S,).
    excess
        Mean squared error per pixel above the optimal one, shape (..., S).

    Returns
    -------
    ndarray
        Nats per pixel and channel, shape (...): with the excess taken over the levels between the first and the last,
        an upper bound on the divergence of a denoiser's model of the noisy images' density at the lowest noise level,
        less that at the highest (Kadkhodaie 2024, equation 5).
    """
    levels = np.asarray(sigmas, dtype=np.float64)
    # In log sigma the integrand is excess / sigma^2, which varies far less than excess / sigma^3 in sigma.
    integrand = np.asarray(excess, dtype=np.float64) / levels**2
    return np.asarray(((integrand[..., 1:] + integrand[..., :-1]) / 2) @ np.diff(np.log(levels)))


def squared_errors(cube: ScoreCube) -> Array:
    """Return mean squared errors per pixel, shape (E, S, R, N), from the PSNR of each image."""
    return np.asarray(10.0 ** (-cube.values / 10))


def _optimum(cube: ScoreCube, kinds: dict[str, str]) -> tuple[int, Literal["exact", "bracket"]] | None:
    """Return which entrant is the optimum, if one is, and whether it is exact.

    Where several claim to, it is the one that gahbench comes with.
    """
    known: tuple[tuple[str, str, Literal["exact", "bracket"]], ...] = (
        ("optimal", "optimal", "exact"),
        ("bound", "lower-bound", "bracket"),
    )
    for kind, own, meaning in known:
        labels = [label for label in cube.entrants if kinds.get(label) == kind]
        if labels:
            return cube.entrants.index(own if own in labels else labels[0]), meaning
    return None


def _decibels(ratio: Array) -> Array:
    return np.asarray(10.0 * np.log10(ratio))
