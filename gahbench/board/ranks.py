"""Order and ranks of entrants by their PSNR.

- Only denoisers for practice have a rank: kinds ``trained`` and ``classical``. Oracles, which see the clean
  image, optimal denoisers, which are computed from the distribution, and bounds, stand in place, by PSNR, without one.
- The rank of an entrant is 1 + the number of entrants that are better than it, and the other end of the interval of its
  rank is the number of entrants less the number of those that it is better than. All pairs are compared at once: one is
  better where its paired difference, in units of its spread, is beyond what the largest of all pairs reaches in 95 % of
  the draws. So all intervals hold at once with that probability, in whatever order the entrants are.

References
----------
Mogstad, Romano, Shaikh, Wilhelm, *Inference for ranks with applications to mobility across neighbourhoods and academic
achievement across countries*, Review of Economic Studies 91(1), 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gahbench.board.statistics import LEVEL

#: Kinds that could be used in practice: they have ranks, and the optimum is no worse than any of them.
PRACTICAL_KINDS = ("trained", "classical")
_TOLERANCE = 1e-9  # dB: below this a difference is rounding


def sorted_by_psnr(labels: Sequence[str], psnr: NDArray[np.float64]) -> list[str]:
    """Sort by PSNR, highest first, unknown last; equals stay in the order of the suite."""
    keys = np.where(np.isnan(psnr), np.inf, -psnr)
    return [labels[index] for index in np.argsort(keys, kind="stable")]


def rank_intervals(
    psnr: NDArray[np.float64], draws: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lowest and the highest rank that each entrant may have, shape (E,); 1 is the best."""
    count = len(psnr)
    difference = psnr[:, None] - psnr[None, :]
    deviations = draws - psnr
    known = np.isfinite(deviations).all(axis=0)
    needed = np.full(difference.shape, np.inf)
    if known.any():
        chosen = deviations[:, known]
        spread = np.stack([np.abs(chosen[:, [one]] - chosen).mean(axis=0) for one in range(chosen.shape[1])])
        varies = spread > _TOLERANCE
        largest = np.zeros(len(draws))
        for one in range(chosen.shape[1]):
            scaled = np.abs(chosen[:, [one]] - chosen)[:, varies[one]] / spread[one, varies[one]]
            largest = np.maximum(largest, scaled.max(axis=1, initial=0.0))
        needed[np.ix_(known, known)] = _TOLERANCE + float(np.quantile(largest, LEVEL)) * spread * varies
    better = difference > needed
    return 1 + better.sum(axis=0), count - better.sum(axis=1)
