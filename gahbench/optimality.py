"""How far denoisers are from the best possible, and a check that none is beyond it.

The optimum of a dataset stands on its board as a row: of kind ``optimal`` where it is exact, or of kind ``bound``,
which no denoiser's expected error can be below. Optimality is a matter of the mean squared error over the
distribution, so everything here compares means of squared errors, not means of the images' PSNR.

- **Deficit**: 10 log10 of the ratio of a denoiser's mean squared error to the optimal one, in dB. With a bound in place
  of the optimum it is the most that the deficit can be; the least is that against the smallest error of all the trained
  and classical denoisers of the board, since the optimum is no worse than any of them.
- **KL bound**: the integral over sigma of [MSE - MSE*] sigma^-3, in nats per pixel and channel, which bounds how far
  the density that a denoiser models is from the true one (Kadkhodaie 2024, equation 5). It covers the noise levels of
  the suite, from the least to the greatest, and nothing beyond; between them the integrand times sigma is taken as
  linear in log sigma. The bracket gives its two ends likewise.
- **Check**: no trained or classical denoiser may have a smaller mean error than the optimum or the bound, by more than
  3 standard errors over images of the paired difference. One that has shows that it, or the optimum, is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench.statistics import bootstrap_means, interval, means

if TYPE_CHECKING:
    from gahbench.scorecube import ScoreCube

Array = NDArray[np.float64]

#: Kinds that could be used in practice: the optimum is no worse than any of them.
PRACTICAL_KINDS = ("trained", "classical")
#: A denoiser beyond the optimum by more standard errors than this is reported.
STANDARD_ERRORS = 3.0


@dataclass(frozen=True)
class Beyond:
    """A denoiser with a smaller error than can be: at a noise level, by so many standard errors."""

    entrant: str
    sigma: float
    standard_errors: float


@dataclass(frozen=True)
class OptimumCheck:
    """What was compared with a dataset's optimum.

    Parameters
    ----------
    optimum
        Label of the row that stands for it.
    kind
        ``exact`` or ``bracket``.
    denoisers, levels
        How many were compared, at how many noise levels.
    beyond
        Those that cannot be.
    """

    optimum: str
    kind: Literal["exact", "bracket"]
    denoisers: int
    levels: int
    beyond: tuple[Beyond, ...]


def optimality_columns(
    cube: ScoreCube, kinds: dict[str, str], level_names: list[str], draws: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return the columns of the board that compare with the optimum, by entrant; empty where none is known.

    Parameters
    ----------
    cube
        PSNR of a dataset.
    kinds
        Kind of each entrant.
    level_names
        How columns call the noise levels, shape (S,).
    draws, seed
        Of the bootstrap.

    Returns
    -------
    dict
        ``deficit`` and ``kl``, for a bracket also ``deficit_least`` and ``kl_least``; each with ``_low`` and
        ``_high``, deficits also for every noise level.
    """
    found = _optimum(cube, kinds)
    if found is None:
        return {}
    best, kind = found
    errors = squared_errors(cube)
    middle, drawn = means(errors), bootstrap_means(errors, draws, seed)
    ends = {"": (middle[best], drawn[:, best])}
    practical = [index for index, label in enumerate(cube.entrants) if kinds.get(label) in PRACTICAL_KINDS]
    if kind == "bracket" and practical:
        least = np.asarray(practical)[np.nanargmin(np.nan_to_num(middle[practical], nan=np.inf), axis=0)]
        levels = np.arange(len(cube.sigmas))
        ends["_least"] = (middle[least, levels], drawn[:, least, levels])
    columns: dict[str, dict[str, float]] = {}
    for index, label in enumerate(cube.entrants):
        if index == best:
            continue
        row = columns[label] = {}
        for end, (at, draw) in ends.items():
            deficit, deficits = _decibels(middle[index] / at), _decibels(drawn[:, index] / draw)
            row |= _interval(f"deficit{end}", deficit.mean(), deficits.mean(axis=1))
            for place, name in enumerate(level_names):
                row |= _interval(f"deficit{end}@{name}", deficit[place], deficits[:, place])
            if len(cube.sigmas) > 1:
                excess = kl_bound(cube.sigmas, middle[index] - at)
                row |= _interval(f"kl{end}", excess, kl_bound(cube.sigmas, drawn[:, index] - draw))
    return columns


def check_optimum(cube: ScoreCube, kinds: dict[str, str]) -> OptimumCheck | None:
    """Compare every trained and classical denoiser with the optimum; ``None`` where none is known.

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
    images = squared_errors(cube).mean(axis=2)
    compared = [index for index, label in enumerate(cube.entrants) if kinds.get(label) in PRACTICAL_KINDS]
    beyond = []
    if images.shape[-1] > 1:
        for index in compared:
            difference = images[best] - images[index]
            middle = difference.mean(axis=-1)
            error = difference.std(axis=-1, ddof=1) / np.sqrt(difference.shape[-1])
            for place in np.flatnonzero(middle > STANDARD_ERRORS * error):
                ratio = float(middle[place] / error[place]) if error[place] > 0 else float("inf")
                beyond.append(Beyond(cube.entrants[index], cube.sigmas[place], ratio))
    return OptimumCheck(cube.entrants[best], kind, len(compared), len(cube.sigmas), tuple(beyond))


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
        an upper bound on the divergence of a denoiser's model of the noisy images' density at the least noise level,
        less that at the greatest (Kadkhodaie 2024, equation 5).
    """
    levels = np.asarray(sigmas, dtype=np.float64)
    # In log sigma the integrand is excess / sigma^2, which varies far less than excess / sigma^3 in sigma.
    integrand = np.asarray(excess, dtype=np.float64) / levels**2
    return np.asarray(((integrand[..., 1:] + integrand[..., :-1]) / 2) @ np.diff(np.log(levels)))


def squared_errors(cube: ScoreCube) -> Array:
    """Return mean squared errors per pixel, shape (E, S, R, N), from the PSNR of each image."""
    return np.asarray(10.0 ** (-cube.values / 10))


def _optimum(cube: ScoreCube, kinds: dict[str, str]) -> tuple[int, Literal["exact", "bracket"]] | None:
    """Return which entrant stands for the optimum, if one does, and whether it is exact."""
    known: tuple[tuple[str, Literal["exact", "bracket"]], ...] = (("optimal", "exact"), ("bound", "bracket"))
    for kind, meaning in known:
        for index, label in enumerate(cube.entrants):
            if kinds.get(label) == kind:
                return index, meaning
    return None


def _decibels(ratio: Array) -> Array:
    return np.asarray(10.0 * np.log10(ratio))


def _interval(name: str, middle: float | Array, draws: Array) -> dict[str, float]:
    low, high = interval(draws)
    return {name: float(middle), f"{name}_low": float(low), f"{name}_high": float(high)}
