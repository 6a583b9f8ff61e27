"""Poisson-Gaussian noise, as cameras and microscopes make it: sampling, variance stabilisation and estimation.

Examples
--------
>>> import torch
>>> from gahbench.noise import PoissonGaussian, Stabilisation, estimate_from_pairs
>>> noise = PoissonGaussian(a=0.01, b=0.0004)
>>> clean = torch.linspace(0, 1, 4096).expand(16, 1, 1, 4096)
>>> noisy = noise.sample(clean, torch.Generator().manual_seed(0))
>>> estimate = estimate_from_pairs(clean, noisy)
>>> abs(estimate.noise.a - noise.a) < 4 * estimate.a_error
True
>>> stabilisation = Stabilisation(noise)
>>> deviation = (stabilisation.forward(noisy) - stabilisation.expected(clean)).std() / stabilisation.sigma
>>> f"{deviation:.1f}"
'1.0'
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
