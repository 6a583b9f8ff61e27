"""Jacobians of denoisers, and estimates from Jacobian-vector products.

The module works without the rest of gahbench, on any ``nn.Module`` with ``forward(noisy, sigma)``::

    from gahbench.jacobian import Jacobian, top

    jacobian = Jacobian(network, noisy, sigma=0.1)
    print(jacobian.trace().value)      # one value for each image, exact or with a standard error
    pairs = top(jacobian, 20)          # eigenvalues and eigenvectors of the symmetric part
    matrices = jacobian.matrices()     # the full matrices, shape (N, d, d)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
