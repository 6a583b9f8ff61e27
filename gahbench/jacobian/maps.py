"""Linear maps of images, one for each of N images: Jacobians, and filters to compare with."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gahbench._util.shapes import Shape

if TYPE_CHECKING:
    from gahbench.jacobian.eigen import Eigenpairs, Method
    from gahbench.jacobian.probes import Estimate, Sketch

#: Values of an image, as in 48x48 grey, up to which matrices are formed and results are exact; beyond it they are
#: estimated from random probes.
LARGEST_EXACT = 2304


class LinearMaps(ABC):
    """N linear maps of images of d = C * H * W values, the i-th of which belongs to the i-th image.

    They are given by their products with vectors; a matrix is made only on request, or where it is small
    enough (d up to 2304) for traces and products to be exact. Vectors are images laid out in a row, shape (N, P, d): P
    of them for each of the N maps.

    Parameters
    ----------
    count
        How many maps.
    shape
        Shape (C, H, W) of the images.
    """

    def __init__(self, count: int, shape: Shape) -> None:
        self.count = count
        self.shape = shape

    def __len__(self) -> int:
        return self.count

    @property
    def size(self) -> int:
        """Number d of values of an image."""
        return math.prod(self.shape)

    @property
    def is_small(self) -> bool:
        """Whether matrices are written down, so that traces and Frobenius products are exact."""
        return self.size <= LARGEST_EXACT

    @property
    def method(self) -> str:
        """How products are found, in words."""
        return "products"

    @property
    @abstractmethod
    def like(self) -> Tensor:
        """Any tensor of the dtype and on the device of the results."""

    @abstractmethod
    def only(self, place: int) -> LinearMaps:
        """Return the map of one of the images."""

    @abstractmethod
    def matvec(self, vectors: Tensor) -> Tensor:
        """Return A_i v for vectors (N, P, d), or (1, P, d) for the same vectors for all; shape (N, P, d)."""

    @abstractmethod
    def rmatvec(self, vectors: Tensor) -> Tensor:
        """Return A_i' v for vectors (N, P, d), or (1, P, d) for the same vectors for all; shape (N, P, d)."""

    def symmetric_product(self, vectors: Tensor) -> Tensor:
        """Return (A_i + A_i') v / 2, shape (N, P, d)."""
        return (self.matvec(vectors) + self.rmatvec(vectors)) / 2

    def matrices(self) -> Tensor:
        """Return the matrices, shape (N, d, d)."""
        identity = torch.eye(self.size, dtype=self.like.dtype, device=self.like.device)
        # The transposed product with the k-th unit vector is the k-th row.
        return self.rmatvec(identity[None])

    def trace(self, probes: int | None = None, seed: int = 0) -> Estimate:
        """Return the traces; see :func:`gahbench.jacobian.probes.trace`."""
        from gahbench.jacobian.probes import trace

        return trace(self, probes, seed)

    def frobenius_product(self, other: LinearMaps, probes: int | None = None, seed: int = 0) -> Estimate:
        """Return <S_i, W_i> of symmetric parts; see :func:`gahbench.jacobian.probes.frobenius_product`."""
        from gahbench.jacobian.probes import frobenius_product

        return frobenius_product(self, other, probes, seed)

    def sketch(self, probes: int | None = None, seed: int = 0) -> Sketch:
        """Return the symmetric parts on probes, or whole; see :class:`gahbench.jacobian.probes.Sketch`."""
        from gahbench.jacobian.probes import sketch

        return sketch(self, probes, seed)

    def top(self, count: int, tolerance: float = 1e-3, method: Method = "auto") -> Eigenpairs:
        """Return the largest eigenvalues of the symmetric parts; see :func:`gahbench.jacobian.eigen.top`."""
        from gahbench.jacobian.eigen import top

        return top(self, count, tolerance, method=method)


class DenseMaps(LinearMaps):
    """Maps that are given as matrices.

    Parameters
    ----------
    matrices
        Shape (N, d, d), or (1, d, d) with ``count``, where all images share one.
    shape
        Shape (C, H, W) of the images.
    count
        N, where it is not the number of matrices.

    Raises
    ------
    ValueError
        If the matrices do not fit the shape or the count.
    """

    def __init__(self, matrices: Tensor, shape: Shape, count: int | None = None) -> None:
        super().__init__(len(matrices) if count is None else count, shape)
        if matrices.ndim != 3 or matrices.shape[1:] != (self.size, self.size) or len(matrices) not in (1, self.count):
            raise ValueError(
                f"expected matrices of shape ({self.count}, {self.size}, {self.size}) for images {shape}, "
                f"not {tuple(matrices.shape)}"
            )
        self._matrices = matrices

    @property
    def like(self) -> Tensor:
        """The matrices."""
        return self._matrices

    @property
    def method(self) -> str:
        """That matrices are given."""
        return "matrices"

    def only(self, place: int) -> DenseMaps:
        """Return the map of one of the images."""
        return DenseMaps(self._matrices[place : place + 1] if len(self._matrices) > 1 else self._matrices, self.shape)

    def matvec(self, vectors: Tensor) -> Tensor:
        """Return A_i v, shape (N, P, d)."""
        return (vectors.to(self.like) @ self._matrices.mT).expand(self.count, -1, -1)

    def rmatvec(self, vectors: Tensor) -> Tensor:
        """Return A_i' v, shape (N, P, d)."""
        return (vectors.to(self.like) @ self._matrices).expand(self.count, -1, -1)

    def matrices(self) -> Tensor:
        """Return the matrices, shape (N, d, d)."""
        return self._matrices.expand(self.count, -1, -1)


class FunctionMaps(LinearMaps):
    """Symmetric maps that are given by a function, as the filters of optimal denoisers are.

    Parameters
    ----------
    function
        Returns the products, shape (M, P, d), of vectors (M, P, d) with the maps of M places, their numbers.
    count, shape
        Number of maps, and shape (C, H, W) of the images.
    like
        Any tensor of the dtype and on the device in which the function computes.
    places
        The numbers of the images; by default 0 to count - 1.
    """

    def __init__(
        self,
        function: Callable[[Tensor, Sequence[int]], Tensor],
        count: int,
        shape: Shape,
        like: Tensor,
        places: Sequence[int] | None = None,
    ) -> None:
        super().__init__(count, shape)
        self._function = function
        self._like = like
        self._places = range(count) if places is None else places

    @property
    def like(self) -> Tensor:
        """What was given."""
        return self._like

    def only(self, place: int) -> FunctionMaps:
        """Return the map of one of the images."""
        return FunctionMaps(self._function, 1, self.shape, self._like, [self._places[place]])

    def matvec(self, vectors: Tensor) -> Tensor:
        """Return A_i v, shape (N, P, d)."""
        return self._function(vectors.to(self._like).expand(self.count, -1, -1), self._places)

    def rmatvec(self, vectors: Tensor) -> Tensor:
        """Return A_i v, since the maps are symmetric."""
        return self.matvec(vectors)

    def symmetric_product(self, vectors: Tensor) -> Tensor:
        """Return A_i v."""
        return self.matvec(vectors)
