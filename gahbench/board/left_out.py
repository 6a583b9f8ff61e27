"""Rows of a board that say nothing about others: diverged ones, and those whose seeds differ far more.

Such a row has no rank, its interval is its own, and its note says why. All other rows are as if it were not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gahbench._util.readable import level_name
from gahbench.board.scorecube import DIVERGED
from gahbench.board.seed_effects import pool
from gahbench.board.statistics import means
from gahbench.evaluation.rates import input_psnr

if TYPE_CHECKING:
    from gahbench.board.scorecube import ScoreCube

#: A row has diverged where the PSNR of an image is below this, dB, and as far below that of the noisy images: its error
#: is then ten times as large as that of any image with values in [0, 1], and of no denoising.
DIVERGED_PSNR = -10.0
#: How the other reason begins.
SEEDS_DIFFER = "its seeds differ far more than those of the other rows: "


def left_out(cube: ScoreCube) -> dict[str, str]:
    """Return the entrants that are left out of comparisons on a dataset, and why, in words for a note."""
    found = dict(cube.left_out)
    if not cube.entrants:
        return found
    bars = np.minimum(DIVERGED_PSNR + input_psnr(cube.sigmas), DIVERGED_PSNR)
    # NaN, of what is missing, is not below.
    lowest = np.where(np.isnan(cube.values), np.inf, cube.values).min(axis=(2, 3))
    for label, row in zip(cube.entrants, lowest, strict=True):
        if label not in found and (row < bars).any():
            worst = int(np.argmin(row - bars))
            found[label] = f"{DIVERGED}an image has {row[worst]:.1f} dB at σ = {level_name(cube.sigmas[worst])}"
    apart = [place for place, label in enumerate(cube.entrants) if label in found]
    pooled = pool(means(cube.values[..., None, :]), None, apart)
    for place, outlier in pooled.outliers.items():
        scale, unit = (100, "%") if outlier.relative else (1, "dB")
        spread, median = (f"{scale * one:.2g} {unit}" for one in (outlier.spread, outlier.median))
        level = level_name(cube.sigmas[outlier.level])
        found[cube.entrants[place]] = f"{SEEDS_DIFFER}by {spread} at σ = {level}, and the median by {median}"
    return found
