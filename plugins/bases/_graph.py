"""Bases of eigenvectors of a graph on the pixels of an image, and the filter (1 + mu L)^-1 that smooths along it."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from gahbench import Basis, BasisError, Shape, Truth, image_shape
from gahbench._util.latest import Latest
from gahbench.jacobian import LARGEST_EXACT, DiagonalFamily, FilterFamily, FunctionMaps, LinearMaps, probes_for

from .._messages import name_of
from ._matrices import LARGEST, Matrices, max_matrices

#: Most pixels of a graph whose filter is found from L alone, without eigenvectors.
LARGEST_FILTERED = 10_000
#: Bytes of eigenvectors that are kept of images, each alone: a filter may ask for one image after the other.
KEPT = 1 << 28


class GraphBasis(Basis):
    """Base of bases that are the eigenvectors, lowest first, of the Laplacian L = D - W of a graph on the pixels."""

    adaptive: ClassVar[bool] = True

    def __init__(self) -> None:
        self._last: tuple[Tensor, Matrices, Tensor] | None = None
        self._spectra: Latest[tuple[Tensor, Tensor]] = Latest(KEPT, lambda spectrum: spectrum[0].nbytes)

    @abstractmethod
    def laplacian(self, images: Tensor) -> Tensor:
        """Return L of each image, shape (N, H * W, H * W), for images (N, C, H, W), in float64 whatever their dtype."""

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) of more than 4096 pixels."""
        _, height, width = shape
        if height * width > LARGEST:
            raise ValueError(
                f"eigenvectors of graphs are computed for up to {LARGEST} pixels, as in 64x64, not for {height}x{width}"
            )

    def max_batch(self, shape: Shape) -> int:
        """Return how many images (C, H, W) have bases of 1 GiB together, at least 1."""
        return max_matrices(shape[1] * shape[2])

    def adapt(self, images: Tensor, threshold: float, noisy: bool = False) -> Basis:
        """Return the eigenvectors of the graph of each image; see :meth:`gahbench.Basis.adapt`."""
        return self.spectrum(images)[0]

    def spectrum(self, images: Tensor) -> tuple[Matrices, Tensor]:
        """Return the basis of each image, and the eigenvalues of L, lowest first, shape (N, H * W), float64."""
        self.check_shape(image_shape(images))
        if self._last is None or not (
            self._last[0].dtype == images.dtype
            and self._last[0].device == images.device
            and torch.equal(self._last[0], images)
        ):
            # Not held while others are computed, as it may be large.
            self._last = None
            # One at a time, so that an image has the same vectors in every batch.
            spectra = [self._of(image) for image in images]
            vectors = Matrices(torch.stack([vectors for vectors, _ in spectra]))
            self._last = (images.clone(), vectors, torch.stack([values for _, values in spectra]))
        return self._last[1:]

    def _of(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return eigenvectors and eigenvalues of one image; those of the latest images are kept, on a processor."""
        if image.device.type != "cpu":
            return lowest_first(self.laplacian(image[None])[0])
        key = (tuple(image.shape), image.double().numpy().tobytes())
        return self._spectra.get(key, lambda: lowest_first(self.laplacian(image[None])[0]))

    def check_filters(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) of more than 10,000 pixels, whose dense L would be too large."""
        if shape[1] * shape[2] > LARGEST_FILTERED:
            raise ValueError(
                f"filters on graphs are found for up to {LARGEST_FILTERED} pixels, as in 100x100, not for "
                f"{shape[1]}x{shape[2]}"
            )

    def filters(self, truth: Truth, sigma: float) -> FilterFamily:
        """Return the Tikhonov filters (1 + mu L)^-1 of each clean image, mu chosen for the trace asked for."""
        return tikhonov_filters(self.laplacian, self.spectrum, truth.clean)

    def analysis(self, images: Tensor) -> Tensor:
        """Raise ``BasisError``: it is adapted to images first."""
        raise BasisError(f"{type(self).__name__} has a basis for each image: call adapt(images, threshold) first")

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Raise ``BasisError``: it is adapted to images first."""
        return self.analysis(coefficients)


def checked_graph_basis(basis: Basis) -> GraphBasis:
    """Return a basis of a graph; raise ``ValueError`` for any other basis."""
    if not isinstance(basis, GraphBasis):
        raise ValueError(f"basis '{name_of(basis)}': accepted are those of graphs, graph-laplacian and patch-graph")
    return basis


def lowest_first(laplacian: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvectors of L, shape (d, d), as columns, the constant one first, and their eigenvalues, (d,)."""
    size = len(laplacian)
    # Twice the largest degree bounds the eigenvalues. So raised, the constant vector comes last, also where regions
    # that hardly touch make further eigenvalues of nearly 0, among whose vectors it would be lost.
    raised = laplacian + (1 + 2 * laplacian.diagonal().max()) / size
    values, vectors = torch.linalg.eigh(raised)
    constant = torch.full_like(vectors[:, :1], size**-0.5)
    # No eigenvalue is below 0 but for rounding.
    return torch.cat([constant, vectors[:, :-1]], dim=1), torch.cat([values[:1] * 0, values[:-1].clamp(min=0)])


def degrees_minus(weights: Tensor) -> Tensor:
    """Return L = D - W, in place of symmetric weights W without diagonal, shape (N, d, d)."""
    degrees = weights.sum(-1)
    laplacian = weights.neg_()
    laplacian.diagonal(dim1=-2, dim2=-1).copy_(degrees)
    return laplacian


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
