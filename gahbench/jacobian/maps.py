"""Linear maps, one for each of N images: Jacobians of denoisers, and filters to compare the Jacobians with.

Traces and Frobenius products are exact for small images. For larger images, they are estimated from random probes, with
standard errors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gahbench._util.noise import generator
from gahbench._util.shapes import Shape

#: Maximum number of values of an image, 48x48 in grey, for which matrices are formed and results are exact; for larger
#: images, results are estimated from random probes.
LARGEST_EXACT = 2304
#: Default number of random probes if results are not exact.
PROBES = 64
#: Number of rows of matrices that are multiplied in float64 at a time.
ROWS_PER_BATCH = 64
#: Maximum number of groups of probes for the jackknife.
MAX_GROUPS = 16


@dataclass(frozen=True, eq=False)
class Estimate:
    """An exact or estimated number for each of N images.

    Parameters
    ----------
    value
        Values, shape (N,), float64.
    error
        Standard errors, shape (N,); 0 if the values are exact.
    probes
        Number of random vectors of the estimate; 0 if the values are exact.

    Examples
    --------
    >>> import torch
    >>> DenseMaps(torch.eye(4)[None], (1, 2, 2)).trace().value
    tensor([4.], dtype=torch.float64)
    """

    value: Tensor
    error: Tensor
    probes: int


@dataclass(frozen=True, eq=False)
class Sketch:
    """Products of the symmetric parts of N maps with P random vectors shared by all maps, or the full matrices.

    Since E z z' = 1 for the random vectors z, <S, W> = E (S z)'(W z), so the Frobenius product of two maps follows from
    their sketches on the same vectors.

    Parameters
    ----------
    rows
        Products of S_i with the vectors, shape (N, P, d); the matrices, with P = d, if ``exact``.
    exact
        Whether the vectors are all unit vectors, so that the rows are the matrices.

    Examples
    --------
    >>> import torch
    >>> sketch = DenseMaps(2 * torch.eye(4)[None], (1, 2, 2)).sketch()
    >>> sketch.exact, sketch.own_products(sketch)
    (True, tensor([[16.]], dtype=torch.float64))
    """

    rows: Tensor
    exact: bool

    def own_products(self, other: Sketch) -> Tensor:
        """Return the parts of <S_i, W_i> from G groups of vectors, shape (G, N), float64, which sum to the product.

        There is one group if the sketches are exact.

        Raises
        ------
        ValueError
            If the two sketches have different numbers of vectors.
        """
        left, right = self.rows, other.rows.to(self.rows)
        if left.shape != right.shape or self.exact != other.exact:
            raise ValueError(f"sketches of shapes {tuple(left.shape)} and {tuple(right.shape)} use different vectors")
        count = left.shape[1]
        # Split the vectors, so that float64 copies stay small.
        pieces = -(-count // ROWS_PER_BATCH) if self.exact else min(MAX_GROUPS, count)
        chunks = (left.tensor_split(pieces, 1), right.tensor_split(pieces, 1))
        groups = [(first.double() * second.double()).sum((1, 2)) for first, second in zip(*chunks, strict=True)]
        return torch.stack(groups).sum(0, keepdim=True) if self.exact else torch.stack(groups) / count


def probes_for(size: int, probes: int, seed: int, like: Tensor) -> Tensor:
    """Return random sign vectors, which are the same for the same arguments.

    Parameters
    ----------
    size
        Number d of values in an image.
    probes
        Number P of vectors.
    seed
        Seed of the random vectors.
    like
        A tensor with the dtype and device of the result.

    Returns
    -------
    Tensor
        Values -1 and 1, shape (1, P, d), which :meth:`LinearMaps.matvec` applies to all images.

    Examples
    --------
    >>> import torch
    >>> probes = probes_for(4, probes=3, seed=0, like=torch.zeros(1))
    >>> probes.shape, probes.abs().unique()
    (torch.Size([1, 3, 4]), tensor([1.]))
    """
    random = generator("noise", "probes", seed, size)
    signs = torch.randint(0, 2, (probes, size), generator=random)
    return (2 * signs - 1).to(like)[None]


class LinearMaps(ABC):
    """N linear maps of images with d = C * H * W values; map i belongs to image i.

    Maps are defined by their products with vectors. Matrices are formed only on request, or if they are small enough (d
    up to 2304) for exact traces and products. Vectors are flattened images, shape (N, P, d): P vectors for each map.

    Parameters
    ----------
    count
        Number N of maps.
    shape
        Shape (C, H, W) of the images.
    like
        A tensor with the dtype and device of the results.

    Examples
    --------
    >>> import torch
    >>> maps = DenseMaps(torch.tensor([[[2.0, 1.0], [0.0, 3.0]]]), (1, 1, 2))
    >>> maps.matvec(torch.tensor([[[1.0, 1.0]]])), maps.rmatvec(torch.tensor([[[1.0, 1.0]]]))
    (tensor([[[3., 3.]]]), tensor([[[2., 4.]]]))
    >>> maps.trace().value
    tensor([5.], dtype=torch.float64)
    """

    def __init__(self, count: int, shape: Shape, like: Tensor) -> None:
        self.count = count
        self.shape = shape
        self.like = like

    def __len__(self) -> int:
        return self.count

    @property
    def size(self) -> int:
        """Number d of values in an image."""
        return math.prod(self.shape)

    @property
    def is_small(self) -> bool:
        """Whether maps are small enough to form matrices, so that traces and Frobenius products are exact."""
        return self.size <= LARGEST_EXACT

    @abstractmethod
    def select(self, index: int) -> LinearMaps:
        """Return the map of image ``index``."""

    @abstractmethod
    def matvec(self, vectors: Tensor) -> Tensor:
        """Return A_i v for vectors of shape (N, P, d), or (1, P, d) if all maps share them; shape (N, P, d)."""

    @abstractmethod
    def rmatvec(self, vectors: Tensor) -> Tensor:
        """Return A_i' v for vectors of shape (N, P, d), or (1, P, d) if all maps share them; shape (N, P, d)."""

    def symmetric_product(self, vectors: Tensor) -> Tensor:
        """Return (A_i + A_i') v / 2, shape (N, P, d)."""
        return (self.matvec(vectors) + self.rmatvec(vectors)) / 2

    def matrices(self) -> Tensor:
        """Return the matrices, shape (N, d, d)."""
        # The transposed product with unit vector k is row k.
        return self.rmatvec(torch.eye(self.size, dtype=self.like.dtype, device=self.like.device)[None])

    def trace(self, probes: int | None = None, seed: int = 0) -> Estimate:
        """Return the traces: exact if the maps are small, otherwise Hutchinson's estimates."""
        if probes is None and self.is_small:
            value = self.matrices().diagonal(dim1=1, dim2=2).double().sum(1).cpu()
            return Estimate(value, torch.zeros_like(value), 0)
        vectors = probes_for(self.size, probes or PROBES, seed, self.like)
        samples = (self.rmatvec(vectors) * vectors).double().sum(2).cpu()
        # A single sample has no standard deviation.
        error = samples.std(1) if samples.shape[1] > 1 else torch.full_like(samples[:, 0], torch.inf)
        return Estimate(samples.mean(1), error / samples.shape[1] ** 0.5, samples.shape[1])

    def sketch(self, probes: int | None = None, seed: int = 0) -> Sketch:
        """Return the symmetric parts: as matrices if the maps are small, otherwise as products with random vectors."""
        if probes is None and self.is_small:
            matrices = self.matrices()
            return Sketch((matrices + matrices.mT) / 2, exact=True)
        vectors = probes_for(self.size, probes or PROBES, seed, self.like)
        return Sketch(self.symmetric_product(vectors), exact=False)


class DenseMaps(LinearMaps):
    """Linear maps stored as dense matrices.

    Parameters
    ----------
    matrices
        Shape (N, d, d).
    shape
        Shape (C, H, W) of the images.

    Raises
    ------
    ValueError
        If the matrices do not fit the shape.

    Examples
    --------
    >>> import torch
    >>> DenseMaps(2 * torch.eye(4)[None], (1, 2, 2)).matvec(torch.ones(1, 1, 4))
    tensor([[[2., 2., 2., 2.]]])
    """

    def __init__(self, matrices: Tensor, shape: Shape) -> None:
        super().__init__(len(matrices), shape, matrices)
        if matrices.ndim != 3 or matrices.shape[1:] != (self.size, self.size):
            raise ValueError(
                f"expected matrices of shape (N, {self.size}, {self.size}) for images {shape}, "
                f"not {tuple(matrices.shape)}"
            )

    def select(self, index: int) -> DenseMaps:
        """Return the map of image ``index``."""
        return DenseMaps(self.like[index : index + 1], self.shape)

    def matvec(self, vectors: Tensor) -> Tensor:
        """Return A_i v, shape (N, P, d)."""
        return vectors.to(self.like) @ self.like.mT

    def rmatvec(self, vectors: Tensor) -> Tensor:
        """Return A_i' v, shape (N, P, d)."""
        return vectors.to(self.like) @ self.like

    def matrices(self) -> Tensor:
        """Return the matrices, shape (N, d, d)."""
        return self.like


class FunctionMaps(LinearMaps):
    """Symmetric linear maps defined by a function, such as the filters of optimal denoisers.

    Parameters
    ----------
    function
        Takes vectors, shape (M, P, d), and the indices of M maps; returns the products, shape (M, P, d).
    count
        Number of maps.
    shape
        Shape (C, H, W) of the images.
    like
        A tensor with the dtype and device in which the function computes.
    indices
        Indices of the images; by default 0 to count - 1.

    Examples
    --------
    >>> import torch
    >>> scales = torch.tensor([1.0, 2.0])
    >>> maps = FunctionMaps(lambda vectors, indices: scales[indices, None, None] * vectors, 2, (1, 2, 2), scales)
    >>> maps.trace().value
    tensor([4., 8.], dtype=torch.float64)
    """

    def __init__(
        self,
        function: Callable[[Tensor, Sequence[int]], Tensor],
        count: int,
        shape: Shape,
        like: Tensor,
        indices: Sequence[int] | None = None,
    ) -> None:
        super().__init__(count, shape, like)
        self._function = function
        self._indices = range(count) if indices is None else indices

    def select(self, index: int) -> FunctionMaps:
        """Return the map of image ``index``."""
        return FunctionMaps(self._function, 1, self.shape, self.like, [self._indices[index]])

    def matvec(self, vectors: Tensor) -> Tensor:
        """Return A_i v, shape (N, P, d)."""
        return self._function(vectors.to(self.like).expand(self.count, -1, -1), self._indices)

    # The maps are symmetric.
    rmatvec = symmetric_product = matvec
