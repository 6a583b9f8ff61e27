"""Images sampled from a denoiser, by the density that it implies.

Usable alone, on any ``nn.Module`` with ``forward(noisy, sigma)``::

    from gahbench.sampling import Sampling, draw_samples, of_network

    samples = draw_samples(of_network(network), (1, 32, 32), Sampling(count=64, seed=0))
    print(samples)                     # how many converged, in how many steps
    samples.images                     # shape (64, 1, 32, 32)
    samples.arrays()                   # as numpy has them
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gahbench._util.lazy import lazy_names
from gahbench.sampling.settings import Sampling, make_sampling

if TYPE_CHECKING:
    from gahbench.sampling.denoisers import Denoise, images_device, of_denoiser, of_network
    from gahbench.sampling.drawing import draw_samples
    from gahbench.sampling.noise import starting_noise
    from gahbench.sampling.samples import Samples
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
    from gahbench.sampling.statistics.membership import own_set, simultaneous_lower, without_shared
    from gahbench.sampling.statistics.neighbours import Neighbours, nearest, nearest_by_cosine
    from gahbench.sampling.statistics.patches import patch_distance
    from gahbench.sampling.statistics.spectra import radial_spectrum, spectrum_distance

_MODULES = {
    "denoisers": ["Denoise", "images_device", "of_denoiser", "of_network"],
    "drawing": ["draw_samples"],
    "noise": ["starting_noise"],
    "samples": ["Samples"],
    "statistics.copies": [
        "MEMORIZED",
        "fresh_distances",
        "memorization_ratios",
        "memorized_share",
        "near_duplicate_share",
        "affine_ratios",
    ],
    "statistics.cosines": ["pair_cosines"],
    "statistics.diversity": ["relative_spread", "vendi_score"],
    "statistics.membership": ["own_set", "simultaneous_lower", "without_shared"],
    "statistics.neighbours": ["Neighbours", "nearest_by_cosine", "nearest"],
    "statistics.patches": ["patch_distance"],
    "statistics.spectra": ["radial_spectrum", "spectrum_distance"],
}
__getattr__, __dir__ = lazy_names(
    __name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}
)

__all__ = [
    "MEMORIZED",
    "Denoise",
    "Neighbours",
    "Samples",
    "Sampling",
    "affine_ratios",
    "draw_samples",
    "fresh_distances",
    "images_device",
    "make_sampling",
    "memorization_ratios",
    "memorized_share",
    "near_duplicate_share",
    "nearest",
    "nearest_by_cosine",
    "of_denoiser",
    "of_network",
    "own_set",
    "pair_cosines",
    "patch_distance",
    "radial_spectrum",
    "relative_spread",
    "simultaneous_lower",
    "spectrum_distance",
    "starting_noise",
    "vendi_score",
    "without_shared",
]
