"""Images sampled from a denoiser, by the density that it implies.

Usable alone, on any ``nn.Module`` with ``forward(noisy, sigma)``::

    from gahbench.sampling import Sampling, draw_samples, of_network

    samples = draw_samples(of_network(network), (1, 32, 32), Sampling(count=64, seed=0))
    print(samples)                     # how many converged, in how many steps
    samples.images                     # shape (64, 1, 32, 32)
    samples.save("folder")             # a sheet, and the arrays
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gahbench.sampling.settings import Sampling, make_sampling

if TYPE_CHECKING:
    from gahbench.sampling.denoisers import Denoise, of_denoiser, of_network
    from gahbench.sampling.drawing import draw_samples
    from gahbench.sampling.noise import starting_noise
    from gahbench.sampling.samples import Samples

#: Names that are imported when first used, since what they need takes long to import.
_LAZY = {
    "Denoise": "denoisers",
    "Samples": "samples",
    "draw_samples": "drawing",
    "of_denoiser": "denoisers",
    "of_network": "denoisers",
    "starting_noise": "noise",
}

__all__ = [
    "Denoise",
    "Samples",
    "Sampling",
    "draw_samples",
    "make_sampling",
    "of_denoiser",
    "of_network",
    "starting_noise",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"gahbench.sampling.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'gahbench.sampling' has no attribute '{name}'")
