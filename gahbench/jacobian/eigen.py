"""Eigenvalues and eigenvectors of the symmetric parts of linear maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gahbench.jacobian.maps import LinearMaps

#: Shares of all eigenpairs, of small and of large matrices, above which a full decomposition is faster than Lanczos'
#: method. For each pair, that method takes about 15 products with single vectors, each as slow as 8 in a batch.
MAX_LANCZOS_SHARE = 0.01
MAX_LANCZOS_SHARE_LARGE = 0.2
Method = Literal["auto", "full", "lanczos"]
#: Maximum number of restarts of Lanczos' method.
MAX_RESTARTS = 200


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Eigenvalues and eigenvectors of the symmetric parts of N maps.

    Parameters
    ----------
    values
        Eigenvalues, shape (N, k), float64, in descending order.
    vectors
        Eigenvectors, shape (N, k, d), as orthonormal rows in the order of the values. Signs are chosen such that each
        row has a positive sum, so that results are reproducible.
    residuals
        Residuals |S v - lambda v|, shape (N, k), which bound the errors of the eigenvalues.
    method
        ``full`` or ``lanczos``.

    Examples
    --------
    >>> import torch
    >>> from gahbench.jacobian import DenseMaps
    >>> pairs = top(DenseMaps(torch.diag(torch.tensor([1.0, 3.0, 2.0, 0.0]))[None], (1, 2, 2)), 2)
    >>> pairs.values, pairs.vectors.shape, pairs.method
    (tensor([[3., 2.]], dtype=torch.float64), torch.Size([1, 2, 4]), 'full')
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    method: str


def full(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (N, d), descending, and eigenvectors (N, d, d), as rows, of the symmetric parts; float64."""
    # Decompose one matrix at a time, which is as fast as a batch and independent of the other images.
    pairs = [torch.linalg.eigh((matrix + matrix.mT) / 2) for matrix in map(Tensor.double, matrices)]
    vectors = torch.stack([pair.eigenvectors.mT.flip(0) for pair in pairs])
    return torch.stack([pair.eigenvalues.flip(0) for pair in pairs]), _fix_signs(vectors)


def top(
    maps: LinearMaps, count: int, tolerance: float = 1e-3, smallest: bool = False, method: Method = "auto"
) -> Eigenpairs:
    """Return the largest eigenvalues of the symmetric part of each map, and their eigenvectors.

    The eigenpairs are computed by Lanczos' method (ARPACK), which only needs products with vectors, or by a full
    decomposition.

    Parameters
    ----------
    maps
        N linear maps of images with d values.
    count
        Number of eigenvalues, from 1 to d.
    tolerance
        Relative accuracy of the eigenvalues.
    smallest
        Whether to return the smallest eigenvalues instead, with the smallest last.
    method
        ``lanczos``, ``full``, or ``auto`` for the faster method: ``full`` if more than a hundredth of all pairs are
        requested, or more than a fifth if an image has more than 2304 values.

    Raises
    ------
    ValueError
        If ``count`` is out of range, or Lanczos' method does not converge.

    Examples
    --------
    >>> import torch
    >>> from gahbench.jacobian import DenseMaps
    >>> maps = DenseMaps(torch.diag(torch.tensor([1.0, 3.0, 2.0, 0.0]))[None], (1, 2, 2))
    >>> top(maps, 2).values, top(maps, 1, smallest=True).values
    (tensor([[3., 2.]], dtype=torch.float64), tensor([[0.]], dtype=torch.float64))
    """
    if not 1 <= count <= maps.size:
        raise ValueError(f"count={count}; accepted: 1 to {maps.size}, the number of values of an image")
    share = MAX_LANCZOS_SHARE if maps.is_small else MAX_LANCZOS_SHARE_LARGE
    if method == "full" or (method == "auto" and count > share * maps.size):
        values, vectors = full(maps.matrices())
        chosen = slice(-count, None) if smallest else slice(0, count)
        exact = torch.zeros(len(maps), count).double()
        return Eigenpairs(values[:, chosen].cpu(), vectors[:, chosen].cpu(), exact, "full")
    pairs = [_lanczos(maps.select(index), count, tolerance, smallest) for index in range(len(maps))]
    values, vectors, residuals = map(torch.stack, zip(*pairs, strict=True))
    return Eigenpairs(values, vectors, residuals, "lanczos")


def _lanczos(map_: LinearMaps, count: int, tolerance: float, smallest: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return eigenvalues (k,), descending, eigenvectors (k, d) and residuals (k,) of a map, by Lanczos' method."""
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    def multiply(vector: np.ndarray) -> np.ndarray:
        row = torch.as_tensor(vector.reshape(1, 1, -1)).to(map_.like)
        return np.asarray(map_.symmetric_product(row)[0, 0].double().cpu().numpy())

    # A fixed random start has a component in every eigenspace.
    start = np.random.default_rng(0).standard_normal(map_.size)
    if not multiply(start).any():
        # The zero map, the Jacobian of a constant denoiser, has no Krylov space.
        return torch.zeros(count).double(), torch.eye(count, map_.size).double(), torch.zeros(count).double()

    def largest(multiply: Callable[[np.ndarray], np.ndarray], count: int) -> Any:
        operator: Any = LinearOperator((map_.size, map_.size), matvec=multiply, dtype=np.float64)
        try:
            return eigsh(operator, k=count, which="LA", v0=start, tol=tolerance, maxiter=MAX_RESTARTS)
        except ArpackError as error:
            raise ValueError(f"Lanczos' method did not find {count} eigenvalues: {error}") from error

    if smallest:
        # The accuracy is relative to the eigenvalue, so compute small eigenvalues as the largest of bound - S.
        bound = float(largest(multiply, 1)[0][0]) + tolerance
        values, vectors = largest(lambda vector: bound * vector - multiply(vector), count)
        values = bound - values
    else:
        values, vectors = largest(multiply, count)
    order = np.argsort(values)[::-1]
    sorted_values, rows = torch.as_tensor(values[order].copy()), torch.as_tensor(vectors.T[order].copy())
    images = map_.symmetric_product(rows[None].to(map_.like))[0].double().cpu()
    return sorted_values, _fix_signs(rows), (images - sorted_values[:, None] * rows).norm(dim=1)


def _fix_signs(vectors: Tensor) -> Tensor:
    """Return rows with signs that make their sums positive."""
    return torch.where(vectors.sum(-1, keepdim=True) < 0, -vectors, vectors)
