"""Bases of eigenvectors of a graph on the pixels of an image, and Tikhonov filters (1 + mu L)^-1 on the graph."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from gahbench import Basis, BasisError, Shape, Truth, image_shape
from gahbench._util.resources import LRUCache
from gahbench.jacobian import LARGEST_EXACT, DiagonalFamily, FilterFamily, FunctionMaps, LinearMaps, probes_for

from .._messages import name_of
from ._matrices import MAX_SIZE, Matrices, max_matrices

#: Maximum number of pixels of a graph whose filter is computed from L, without eigenvectors.
LARGEST_FILTERED = 10_000
#: Maximum number of bytes of the eigenvectors of single images in the cache.
CACHE_BYTES = 1 << 28


class GraphBasis(Basis):
    """Base class of bases of eigenvectors of the Laplacian L = D - W of a graph of pixels, by ascending eigenvalue."""

    adaptive: ClassVar[bool] = True

    def __init__(self) -> None:
        self._last: tuple[Tensor, Matrices, Tensor] | None = None
        self._spectra: LRUCache[tuple[Tensor, Tensor]] = LRUCache(CACHE_BYTES, lambda spectrum: spectrum[0].nbytes)

    @abstractmethod
    def laplacian(self, images: Tensor) -> Tensor:
        """Return L of each image, shape (N, H * W, H * W), float64, for images (N, C, H, W) of any dtype."""

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) of more than 4096 pixels."""
        _, height, width = shape
        if height * width > MAX_SIZE:
            raise ValueError(
                f"images of {height}x{width}; accepted for eigenvectors of graphs: up to {MAX_SIZE} pixels, as in 64x64"
            )

    def max_batch(self, shape: Shape) -> int:
        """Return the number of images (C, H, W) whose bases fit into 1 GiB, at least 1."""
        return max_matrices(shape[1] * shape[2])

    def adapt(self, images: Tensor, threshold: float, noisy: bool = False) -> Basis:
        """Return the eigenvectors of the graph of each image; see :meth:`gahbench.Basis.adapt`."""
        return self.spectrum(images)[0]

    def spectrum(self, images: Tensor) -> tuple[Matrices, Tensor]:
        """Return the basis of each image, and the eigenvalues of L, ascending, shape (N, H * W), float64."""
        self.check_shape(image_shape(images))
        if self._last is None or not (
            self._last[0].dtype == images.dtype
            and self._last[0].device == images.device
            and torch.equal(self._last[0], images)
        ):
            # Free the memory before the next spectra are computed.
            self._last = None
            # Process each image separately, so that its vectors do not depend on the batch.
            spectra = [self._image_spectrum(image) for image in images]
            vectors = Matrices(torch.stack([vectors for vectors, _ in spectra]))
            self._last = (images.clone(), vectors, torch.stack([values for _, values in spectra]))
        return self._last[1:]

    def _image_spectrum(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return eigenvectors and eigenvalues of an image, on a CPU from the cache of the latest images."""
        if image.device.type != "cpu":
            return laplacian_spectrum(self.laplacian(image[None])[0])
        key = (tuple(image.shape), image.double().numpy().tobytes())
        return self._spectra.get(key, lambda: laplacian_spectrum(self.laplacian(image[None])[0]))

    def check_filters(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) of more than 10,000 pixels, whose dense L would be too large."""
        if shape[1] * shape[2] > LARGEST_FILTERED:
            raise ValueError(
                f"images of {shape[1]}x{shape[2]}; accepted for filters on graphs: up to {LARGEST_FILTERED} pixels, as "
                "in 100x100"
            )

    def filters(self, truth: Truth, sigma: float) -> FilterFamily:
        """Return the Tikhonov filters (1 + mu L)^-1 of each clean image, with mu chosen for the requested trace."""
        return tikhonov_filters(self.laplacian, self.spectrum, truth.clean)

    def analysis(self, images: Tensor) -> Tensor:
        """Raise ``BasisError``, since the basis must be adapted to images first."""
        raise BasisError(f"{type(self).__name__} has a basis for each image: call adapt(images, threshold) first")

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Raise ``BasisError``, since the basis must be adapted to images first."""
        return self.analysis(coefficients)


def check_graph_basis(basis: Basis) -> GraphBasis:
    """Return a basis of a graph; raise ``ValueError`` for any other basis."""
    if not isinstance(basis, GraphBasis):
        raise ValueError(f"basis '{name_of(basis)}'; accepted: bases of graphs, graph-laplacian and patch-graph")
    return basis


def laplacian_spectrum(laplacian: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvectors of L, shape (d, d), as columns, the constant vector first, and their eigenvalues, (d,)."""
    size = len(laplacian)
    # Shift the eigenvalue of the constant vector above all other eigenvalues, which are at most twice the largest
    # degree. It is then separate from further eigenvalues near 0, which weakly connected regions have.
    shifted = laplacian + (1 + 2 * laplacian.diagonal().max()) / size
    values, vectors = torch.linalg.eigh(shifted)
    constant = torch.full_like(vectors[:, :1], size**-0.5)
    # Only rounding errors are below 0.
    return torch.cat([constant, vectors[:, :-1]], dim=1), torch.cat([values[:1] * 0, values[:-1].clamp(min=0)])


def laplacian_of_weights(weights: Tensor) -> Tensor:
    """Return L = D - W of symmetric weights W with zero diagonal, shape (N, d, d); the weights are overwritten."""
    degrees = weights.sum(-1)
    laplacian = weights.neg_()
    laplacian.diagonal(dim1=-2, dim2=-1).copy_(degrees)
    return laplacian


#: Number of bisections of the logarithm of mu, and range of mu.
STEPS = 60
RANGE = (1e-8, 1e8)
#: Weights and eigenvalues below this fraction of the largest count as 0.
NEGLIGIBLE = 1e-12
#: Numbers of random vectors and of bisections for images too large for eigenvalues.
PROBES = 16
COARSE_STEPS = 20


def tikhonov_filters(
    laplacian: Callable[[Tensor], Tensor],
    spectrum: Callable[[Tensor], tuple[Matrices, Tensor]],
    images: Tensor,
) -> FilterFamily:
    """Return the filters (1 + mu L_i)^-1 of the graph of each image, for any trace."""
    shape = image_shape(images)
    if images[0].numel() > LARGEST_EXACT:
        return _SparseTikhonov(laplacian, images)
    vectors, values = spectrum(images)
    atoms = vectors.atoms(shape).to(images)
    # Smaller eigenvalues are rounding errors: they belong to regions that are practically disconnected.
    values = torch.where(values > NEGLIGIBLE * values.amax(1, keepdim=True), values, 0.0)
    gains = torch.ones((), dtype=torch.float64, device=values.device)
    return DiagonalFamily(values.repeat(1, shape[0]), gains, shape, (atoms, atoms))


def damping(products: Tensor) -> Tensor:
    """Return 1 / (1 + mu lambda) for products mu lambda."""
    return 1 / (1 + products)


def solve_strength(values: Tensor, traces: Tensor, kernel: Callable[[Tensor], Tensor] = damping) -> Tensor:
    """Return mu, shape (N,), for which sum_k kernel(mu lambda_k) equals the trace, given eigenvalues lambda (N, d)."""
    low, high = (torch.full_like(traces, end).log() for end in RANGE)
    for _ in range(STEPS):
        middle = (low + high) / 2
        is_above = kernel(middle.exp()[:, None] * values).sum(1) > traces
        low, high = torch.where(is_above, middle, low), torch.where(is_above, high, middle)
    return ((low + high) / 2).exp()


class _SparseTikhonov(FilterFamily):
    """Filters on graphs of images too large for eigenvectors, by sparse factorization."""

    def __init__(self, laplacian: Callable[[Tensor], Tensor], images: Tensor) -> None:
        from scipy.sparse import csc_array

        super().__init__(len(images), image_shape(images))
        self._images = images
        self._matrices = [csc_array(laplacian(image[None])[0].cpu().numpy()) for image in images]
        self._latest: tuple[Tensor, LinearMaps] | None = None

    @property
    def bytes(self) -> int:
        """Memory of the sparse matrices, in bytes."""
        return sum(int(matrix.data.nbytes + matrix.indices.nbytes) for matrix in self._matrices)

    def reaches(self, traces: Tensor) -> Tensor:
        """Return whether a filter can have each trace, between the number of regions and the number of values."""
        from scipy.sparse.csgraph import connected_components

        channels, height, width = self.shape
        adjacency = [abs(matrix) > NEGLIGIBLE * abs(matrix).max() for matrix in self._matrices]
        regions = [connected_components(matrix, directed=False)[0] for matrix in adjacency]
        low = channels * torch.tensor(regions, dtype=torch.float64)
        return ((traces.cpu() > low) & (traces.cpu() < channels * height * width)).to(traces.device)

    def at(self, traces: Tensor) -> LinearMaps:
        """Return filters whose traces are approximately the given traces, or the nearest possible traces."""
        if self._latest is None or not torch.equal(self._latest[0], traces):
            self._latest = (traces.clone(), self._with_traces(traces))
        return self._latest[1]

    def _with_traces(self, traces: Tensor) -> LinearMaps:
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
                estimate = float((probes * factor(math.exp(middle)).solve(probes)).sum() / PROBES)
                low, high = (middle, high) if estimate > trace else (low, middle)
            solvers.append(factor(math.exp((low + high) / 2)))

        def apply_filters(vectors: Tensor, indices: Sequence[int]) -> Tensor:
            products = []
            for index, rows in zip(indices, vectors, strict=True):
                columns = rows.reshape(-1, pixels).double().cpu().numpy().T
                products.append(torch.as_tensor(solvers[index].solve(columns).T.copy()).reshape(rows.shape))
            return torch.stack(products).to(vectors)

        return FunctionMaps(apply_filters, self.count, self.shape, self._images)
