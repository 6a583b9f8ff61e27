"""Statistics of samples of a learned density: whether they are copies, and how they differ from real images.

All are functions of images of shape (N, C, H, W), on any device, in any units that samples and real images share; all
compute in float64::

    from gahbench.sampling import memorization_ratios, pair_cosines

    pair_cosines(samples_of_one, samples_of_the_other).median()
    (memorization_ratios(samples, training) < 1 / 3).double().mean()
"""

from __future__ import annotations

from gahbench.sampling.statistics.copies import (
    MEMORIZED,
    affine_ratios,
    fresh_distances,
    memorization_ratios,
    memorized_share,
    near_duplicate_share,
)
from gahbench.sampling.statistics.cosines import pair_cosines
from gahbench.sampling.statistics.diversity import relative_spread, vendi_score
from gahbench.sampling.statistics.patches import patch_distance
from gahbench.sampling.statistics.spectra import radial_spectrum, spectrum_distance

__all__ = [
    "MEMORIZED",
    "affine_ratios",
    "fresh_distances",
    "memorization_ratios",
    "memorized_share",
    "near_duplicate_share",
    "pair_cosines",
    "patch_distance",
    "radial_spectrum",
    "relative_spread",
    "spectrum_distance",
    "vendi_score",
]
