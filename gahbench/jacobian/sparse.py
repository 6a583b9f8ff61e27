"""Linear maps whose matrices are mostly zero, as of denoisers that look at a window around each pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench._util.shapes import Shape
from gahbench.jacobian.maps import LinearMaps


class SparseMaps(LinearMaps):
    """Maps whose matrices have the same few places that are not zero.

    Parameters
    ----------
    places
        Row and column of each of K values, shape (2, K), integers from 0 to d - 1; no place comes twice.
    values
        Shape (N, K), for each of N maps.
    shape
        Shape (C, H, W) of the images, of d values.

    Raises
    ------
    ValueError
        If there are not as many values as places.
    """

    def __init__(self, places: Tensor, values: Tensor, shape: Shape) -> None:
        super().__init__(len(values), shape)
        if values.ndim != 2 or places.shape != (2, values.shape[1]):
            raise ValueError(
                f"expected places of shape (2, K) and values of shape (N, K), not {tuple(places.shape)} and "
                f"{tuple(values.shape)}"
            )
        order = torch.argsort(places[0] * self.size + places[1])
        self._places, self._values = places[:, order], values[:, order]

    @property
    def like(self) -> Tensor:
        """The values."""
        return self._values

    @property
    def method(self) -> str:
        """How the maps are stored."""
        return "sparse matrices"

    def only(self, place: int) -> SparseMaps:
        """Return the map of one of the images."""
        return SparseMaps(self._places, self._values[place : place + 1], self.shape)

    def matvec(self, vectors: Tensor) -> Tensor:
        """Return A_i v, shape (N, P, d)."""
        vectors = vectors.to(self.like).expand(self.count, -1, -1)
        return torch.stack([(self._matrix(i) @ own.mT).mT for i, own in enumerate(vectors)])

    def rmatvec(self, vectors: Tensor) -> Tensor:
        """Return A_i' v, shape (N, P, d)."""
        vectors = vectors.to(self.like).expand(self.count, -1, -1)
        return torch.stack([(self._matrix(i).t() @ own.mT).mT for i, own in enumerate(vectors)])

    def matrices(self) -> Tensor:
        """Return the matrices, shape (N, d, d)."""
        return torch.stack([self._matrix(i).to_dense() for i in range(self.count)])

    def _matrix(self, place: int) -> Tensor:
        return torch.sparse_coo_tensor(
            self._places, self._values[place], (self.size, self.size), is_coalesced=True, check_invariants=False
        )
