"""Order, ranks and ties of entrants by their PSNR.

- Only denoisers for practice have a rank: kinds ``trained`` and ``classical``. Oracles, which see the clean
  image, optimal denoisers, which are computed from the distribution, and bounds, stand in place, by PSNR, without one.
- Ties: going down the ranked entrants, the first opens a tie group. The next one joins it unless the 95 % interval of
  its paired difference from the *first of the group* lies wholly above 0; then it opens the next group. A group shares
  the rank of its first, and the ranks that it uses up are skipped (1, 1, 3). Where there is no interval (one test
  image) only equal means tie.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gahbench.board.statistics import Estimate

_TOLERANCE = 1e-9  # dB: below this a difference is rounding


def sorted_by_psnr(labels: Sequence[str], psnr: NDArray[np.float64]) -> list[str]:
    """Sort by PSNR, highest first, unknown last; equals stay in the order of the suite."""
    keys = np.where(np.isnan(psnr), np.inf, -psnr)
    return [labels[index] for index in np.argsort(keys, kind="stable")]


def tie_groups(ordered: Sequence[str], difference: Callable[[str, str], Estimate]) -> dict[str, tuple[int, int]]:
    """Return rank and tie group of entrants.

    Parameters
    ----------
    ordered
        Those that are ranked, from the best down.
    difference
        Gives the paired difference of two of them.
    """
    groups: dict[str, tuple[int, int]] = {}
    first, rank, group = None, 0, 0
    for place, label in enumerate(ordered, start=1):
        if first is None or _is_apart(difference(first, label)):
            first, rank, group = label, place, group + 1
        groups[label] = (rank, group)
    return groups


def _is_apart(difference: Estimate) -> bool:
    return (difference.value if math.isnan(difference.low) else difference.low) > _TOLERANCE
