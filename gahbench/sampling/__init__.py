"""Sample images from the density that a denoiser implies.

The module works without the rest of gahbench, on any ``nn.Module`` with ``forward(noisy, sigma)``::

    from gahbench.sampling import Sampling, draw_samples, wrap_network

    samples = draw_samples(wrap_network(network), (1, 32, 32), Sampling(count=64, seed=0))
    print(samples)                     # how many converged, in how many steps
    samples.images                     # shape (64, 1, 32, 32)
    samples.arrays()                   # all fields as numpy arrays
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
