"""Jacobians of denoisers, and estimates from Jacobian-vector products.

The module works without the rest of gahbench, on any ``nn.Module`` with ``forward(noisy, sigma)``::

    from gahbench.jacobian import Jacobian, top

    jacobian = Jacobian(network, noisy, sigma=0.1)
    print(jacobian.trace().value)      # one value for each image, exact or with a standard error
    pairs = top(jacobian, 20)          # eigenvalues and eigenvectors of the symmetric part
    matrices = jacobian.matrices()     # the full matrices, shape (N, d, d)
"""

from __future__ import annotations

from gahbench.jacobian.autograd import AutogradMaps, Jacobian
from gahbench.jacobian.eigen import Eigenpairs, top
from gahbench.jacobian.families import FilterFamily
from gahbench.jacobian.maps import (
    LARGEST_EXACT,
    DenseMaps,
    Estimate,
    FunctionMaps,
    LinearMaps,
    Sketch,
    probes_for,
)

__all__ = [
    "LARGEST_EXACT",
    "AutogradMaps",
    "DenseMaps",
    "Eigenpairs",
    "Estimate",
    "FilterFamily",
    "FunctionMaps",
    "Jacobian",
    "LinearMaps",
    "Sketch",
    "probes_for",
    "top",
]
