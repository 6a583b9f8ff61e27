"""The eigenvectors that a map shrinks in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gahbench.jacobian.maps import LinearMaps

#: With more pairs than this share of all, a full decomposition is faster than Lanczos: it takes some 15 products with
#: single vectors for each pair, each as long as 8 in a batch. Where all of a matrix is not kept lightly, it takes more.
SHARE = 0.01
SHARE_LARGE = 0.2
Method = Literal["auto", "full", "lanczos"]
#: Lanczos' method starts anew at most so often.
RESTARTS = 200


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Eigenvalues and eigenvectors of the symmetric parts of N maps.

    Parameters
    ----------
    values
        Shape (N, k), float64, sorted down.
    vectors
        Shape (N, k, d), orthonormal rows, in the order of the values. The sign of each is that which makes its
        sum positive, so that figures repeat.
    residuals
        |S v - lambda v|, shape (N, k): how far from the truth an eigenvalue may be.
    method
        ``full``, or ``lanczos`` with the number of products that it took.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    method: str


def full(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Return all eigenvalues and eigenvectors of the symmetric parts of matrices.

    Parameters
    ----------
    matrices
        Shape (N, d, d).

    Returns
    -------
    tuple of Tensor
        Eigenvalues, shape (N, d), sorted down, and orthonormal eigenvectors, as rows, shape (N, d, d); both float64.

    Examples
    --------
    >>> import torch
    >>> values, vectors = full(torch.diag(torch.tensor([1.0, 3.0, 2.0]))[None])
    >>> values
    tensor([[3., 2., 1.]], dtype=torch.float64)
    """
    values, vectors = [], []
    # One at a time: as fast as a batch, and an image has the same vectors in every batch.
    for matrix in matrices:
        double = matrix.double()
        found = torch.linalg.eigh((double + double.mT) / 2)
        values.append(found.eigenvalues.flip(0))
        vectors.append(_signed(found.eigenvectors.mT.flip(0)))
    return torch.stack(values), torch.stack(vectors)


def top(
    maps: LinearMaps, count: int, tolerance: float = 1e-3, smallest: bool = False, method: Method = "auto"
) -> Eigenpairs:
    """Return the largest eigenvalues of the symmetric part of each map, and their eigenvectors.

    By Lanczos' method (ARPACK) on products alone, or by a full decomposition.

    Parameters
    ----------
    maps
        N linear maps of images of d values.
    count
        How many, from 1 to d.
    tolerance
        Relative accuracy of the eigenvalues.
    smallest
        Return the smallest ones instead, smallest last.
    method
        ``lanczos``, ``full``, or ``auto`` for the faster one: ``full`` where more than a hundredth of all pairs are
        requested, or more than a fifth if an image has more than 2304 values.

    Raises
    ------
    ValueError
        If ``count`` is out of range, or the method does not converge.
    """
    if not 1 <= count <= maps.size:
        raise ValueError(f"count={count}: accepted are 1 to {maps.size}, the number of values of an image")
    share = SHARE if maps.is_small else SHARE_LARGE
    if method == "full" or (method == "auto" and count > share * maps.size):
        values, vectors = full(maps.matrices())
        chosen = slice(-count, None) if smallest else slice(0, count)
        exact = torch.zeros(len(maps), count).double()
        return Eigenpairs(values[:, chosen].cpu(), vectors[:, chosen].cpu(), exact, "full")
    pairs = [_lanczos(maps.only(place), count, tolerance, smallest) for place in range(len(maps))]
    all_values, all_vectors, residuals, products = zip(*pairs, strict=True)
    signed = torch.stack([_signed(one) for one in all_vectors])
    taken = f"lanczos, {sum(products)} products"
    return Eigenpairs(torch.stack(all_values), signed, torch.stack(residuals), taken)


def _lanczos(one: LinearMaps, count: int, tolerance: float, smallest: bool) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return the largest eigenvalues of the symmetric part of one map, or the smallest, by Lanczos' method.

    They are values (k,), sorted down, vectors (k, d), residuals (k,), and the number of products that they took.
    """
    from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

    products = 0

    def multiply(vector: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        given = torch.as_tensor(np.ascontiguousarray(vector).reshape(1, 1, -1)).to(one.like)
        return np.asarray(one.symmetric_product(given)[0, 0].double().cpu().numpy())

    # A start that is always the same, and lies in no eigenspace.
    start = np.random.default_rng(0).standard_normal(one.size)
    if not multiply(start).any():
        # A map that is 0, as of a denoiser that returns the same for all images, has no Krylov space.
        return torch.zeros(count).double(), torch.eye(count, one.size).double(), torch.zeros(count).double(), 1

    def largest(multiply: Callable[[np.ndarray], np.ndarray], count: int) -> Any:
        operator: Any = LinearOperator((one.size, one.size), matvec=multiply, dtype=np.float64)
        try:
            return eigsh(operator, k=count, which="LA", v0=start, tol=tolerance, maxiter=RESTARTS)
        except ArpackNoConvergence as error:
            raise ValueError(f"Lanczos' method did not find {count} eigenvalues in {RESTARTS} restarts") from error
        except ArpackError as error:
            raise ValueError(f"Lanczos' method did not find {count} eigenvalues: {error}") from error

    if smallest:
        # The accuracy is relative to the eigenvalue that is found: small ones are found as the largest of the rest.
        bound = float(largest(multiply, 1)[0][0]) + tolerance
        values, vectors = largest(lambda vector: bound * vector - multiply(vector), count)
        values = bound - values
    else:
        values, vectors = largest(multiply, count)
    order = np.argsort(values)[::-1]
    sorted_values, rows = torch.as_tensor(values[order].copy()), torch.as_tensor(vectors.T[order].copy())
    images = one.symmetric_product(rows[None].to(one.like))[0].double().cpu()
    return sorted_values, rows, (images - sorted_values[:, None] * rows).norm(dim=1), products


def _signed(vectors: Tensor) -> Tensor:
    """Return rows (k, d), each with the sign that makes its sum positive."""
    sums = vectors.sum(1, keepdim=True)
    return torch.where(sums < 0, -vectors, vectors)
