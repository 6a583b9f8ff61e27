"""The filter that smooths an image along its graph: (1 + mu L)^-1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gahbench import image_shape
from gahbench.jacobian import LARGEST_EXACT, DiagonalFamily, FilterFamily, FunctionMaps, LinearMaps, probes_for

from ._matrices import Matrices

#: Bisections of the logarithm of mu, over this range.
STEPS = 60
RANGE = (1e-8, 1e8)
#: Weights and eigenvalues that are smaller than this share of the largest are taken for 0.
APART = 1e-12
#: For images too large for eigenvalues: random vectors and bisections that find mu.
PROBES = 16
COARSE_STEPS = 20


def tikhonov_filters(
    laplacian: Callable[[Tensor], Tensor],
    spectrum: Callable[[Tensor], tuple[Matrices, Tensor]],
    images: Tensor,
) -> FilterFamily:
    """Return (1 + mu L_i)^-1 for the graph of each image, at any trace."""
    shape = image_shape(images)
    if images[0].numel() > LARGEST_EXACT:
        return _SparseTikhonov(laplacian, images)
    vectors, values = spectrum(images)
    atoms = vectors.atoms(shape).to(images)
    # Regions that hardly touch are apart: eigenvalues so small are rounding.
    values = torch.where(values > APART * values.amax(1, keepdim=True), values, 0.0)
    gains = torch.ones((), dtype=torch.float64, device=values.device)
    return DiagonalFamily(values.repeat(1, shape[0]), gains, shape, (atoms, atoms))


def damping(products: Tensor) -> Tensor:
    """Return 1 / (1 + mu lambda) for products mu lambda."""
    return 1 / (1 + products)


def strength(values: Tensor, traces: Tensor, kernel: Callable[[Tensor], Tensor] = damping) -> Tensor:
    """Return mu, shape (N,), such that the sum of a kernel over mu lambda_k, of eigenvalues (N, d), is the trace."""
    low, high = (torch.full_like(traces, end).log() for end in RANGE)
    for _ in range(STEPS):
        middle = (low + high) / 2
        excess = kernel(middle.exp()[:, None] * values).sum(1) > traces
        low, high = torch.where(excess, middle, low), torch.where(excess, high, middle)
    return ((low + high) / 2).exp()


class _SparseTikhonov(FilterFamily):
    """Filters on graphs of images too large for eigenvectors: systems are solved by sparse factorisation."""

    def __init__(self, laplacian: Callable[[Tensor], Tensor], images: Tensor) -> None:
        from scipy.sparse import csc_array

        super().__init__(len(images), image_shape(images))
        self._images = images
        self._matrices = [csc_array(laplacian(image[None])[0].cpu().numpy()) for image in images]
        self._latest: tuple[Tensor, LinearMaps] | None = None

    @property
    def bytes(self) -> int:
        """Memory that it holds."""
        return sum(int(matrix.data.nbytes + matrix.indices.nbytes) for matrix in self._matrices)

    def reaches(self, traces: Tensor) -> Tensor:
        """Return whether each image has a filter of its trace: from its connected regions to its values."""
        from scipy.sparse.csgraph import connected_components

        channels, height, width = self.shape
        joined = [abs(matrix) > APART * abs(matrix).max() for matrix in self._matrices]
        regions = [connected_components(matrix, directed=False)[0] for matrix in joined]
        low = channels * torch.tensor(regions, dtype=torch.float64)
        return ((traces.cpu() > low) & (traces.cpu() < channels * height * width)).to(traces.device)

    def at(self, traces: Tensor) -> LinearMaps:
        """Return the filter of each image that has its trace, about, or the nearest that there is."""
        if self._latest is None or not torch.equal(self._latest[0], traces):
            self._latest = (traces.clone(), self._found(traces))
        return self._latest[1]

    def _found(self, traces: Tensor) -> LinearMaps:
        from scipy.sparse import eye_array
        from scipy.sparse.linalg import splu

        pixels = self.shape[1] * self.shape[2]
        probes = probes_for(pixels, PROBES, 1, torch.empty(0, dtype=torch.float64))[0].mT.numpy()
        solvers = []
        for matrix, trace in zip(self._matrices, (traces / self.shape[0]).tolist(), strict=True):

            def factor(mu: float, matrix: Any = matrix) -> Any:
                return splu((eye_array(pixels, format="csc") + mu * matrix).tocsc())

            low, high = (math.log(end) for end in RANGE)
            for _ in range(COARSE_STEPS):
                middle = (low + high) / 2
                found = float((probes * factor(math.exp(middle)).solve(probes)).sum() / PROBES)
                low, high = (middle, high) if found > trace else (low, middle)
            solvers.append(factor(math.exp((low + high) / 2)))

        def filtered(vectors: Tensor, places: Sequence[int]) -> Tensor:
            found = []
            for place, own in zip(places, vectors, strict=True):
                columns = own.reshape(-1, pixels).double().cpu().numpy().T
                found.append(torch.as_tensor(solvers[place].solve(columns).T.copy()).reshape(own.shape))
            return torch.stack(found).to(vectors)

        return FunctionMaps(filtered, self.count, self.shape, self._images)
