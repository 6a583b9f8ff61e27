"""Linear maps with sparse matrices, such as Jacobians of denoisers that use a window around each pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench._util.shapes import Shape
from gahbench.jacobian.maps import LinearMaps


class SparseMaps(LinearMaps):
    """Linear maps stored as sparse matrices with a common sparsity pattern.

    Parameters
    ----------
    indices
        Rows and columns of K nonzero elements, shape (2, K), integers from 0 to d - 1, without duplicates.
    values
        Nonzero elements of each map, shape (N, K).
    shape
        Shape (C, H, W) of the images, with d values.

    Raises
    ------
    ValueError
        If the numbers of values and of index pairs differ.

    Examples
    --------
    >>> import torch
    >>> maps = SparseMaps(torch.tensor([[0, 1], [0, 2]]), torch.tensor([[5.0, 7.0]]), (1, 2, 2))
    >>> maps.matvec(torch.ones(1, 1, 4))
    tensor([[[5., 7., 0., 0.]]])
    """

    def __init__(self, indices: Tensor, values: Tensor, shape: Shape) -> None:
        super().__init__(len(values), shape)
        if values.ndim != 2 or indices.shape != (2, values.shape[1]):
            raise ValueError(
                f"expected indices of shape (2, K) and values of shape (N, K), not {tuple(indices.shape)} and "
                f"{tuple(values.shape)}"
            )
        order = torch.argsort(indices[0] * self.size + indices[1])
        self._indices, self._values = indices[:, order], values[:, order]

    @property
    def like(self) -> Tensor:
        """The values."""
        return self._values

    @property
    def method(self) -> str:
        """How the maps are stored."""
        return "sparse matrices"

    def select(self, index: int) -> SparseMaps:
        """Return the map of image ``index``."""
        return SparseMaps(self._indices, self._values[index : index + 1], self.shape)

    def matvec(self, vectors: Tensor) -> Tensor:
        """Return A_i v, shape (N, P, d)."""
        vectors = vectors.to(self.like).expand(self.count, -1, -1)
        return torch.stack([(self._matrix(i) @ columns.mT).mT for i, columns in enumerate(vectors)])

    def rmatvec(self, vectors: Tensor) -> Tensor:
        """Return A_i' v, shape (N, P, d)."""
        vectors = vectors.to(self.like).expand(self.count, -1, -1)
        return torch.stack([(self._matrix(i).t() @ columns.mT).mT for i, columns in enumerate(vectors)])

    def matrices(self) -> Tensor:
        """Return the matrices, shape (N, d, d)."""
        return torch.stack([self._matrix(i).to_dense() for i in range(self.count)])

    def _matrix(self, index: int) -> Tensor:
        return torch.sparse_coo_tensor(
            self._indices, self._values[index], (self.size, self.size), is_coalesced=True, check_invariants=False
        )
