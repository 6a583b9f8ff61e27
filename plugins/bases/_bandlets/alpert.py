"""Orthonormal multiwavelets on samples in a row."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Matrix = NDArray[np.float64]


@functools.lru_cache(maxsize=32)
def alpert_matrix(
    size: int, moments: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the discrete Alpert transform as an orthogonal matrix of shape (size, size) whose rows are the vectors.

    The first ``moments`` rows span the polynomials of degree below ``moments`` in the rank of a sample (its place in
    the row). All others are orthogonal to these polynomials. They live on dyadic parts and span, in each part, what is
    polynomial on both halves but not on the whole; the j-th of them is orthogonal to j - 1 powers more (Alpert 1993,
    on equally spaced samples). With one moment it is the Haar transform.

    Parameters
    ----------
    size
        A power of 2, at least ``moments``.
    moments
        At least 1.
    """
    scaling, wavelets = _alpert(size, moments)
    matrix = np.concatenate([scaling, wavelets])
    # Rows are unique up to their sign.
    first = np.argmax(np.abs(matrix) > 1e-9, axis=1)
    matrix *= np.sign(np.take_along_axis(matrix, first[:, None], axis=1))
    return torch.from_numpy(matrix).to(device=device, dtype=dtype)


def _alpert(size: int, moments: int) -> tuple[Matrix, Matrix]:
    """Return an orthonormal basis of the polynomials on a part, and the wavelets on it and its parts, as rows."""
    if size < 2 * moments:
        rows = _orthonormalised(_powers(size, size))
        return rows[:moments], rows[moments:]
    scaling, wavelets = _alpert(size // 2, moments)
    # Both halves are alike, and functions on them are the rows of block-diagonal matrices.
    halves = np.kron(np.eye(2), scaling)
    rows = _orthonormalised(halves @ _powers(size, 2 * moments)) @ halves
    return rows[:moments], np.concatenate([rows[moments:], np.kron(np.eye(2), wavelets)])


def _powers(size: int, count: int) -> Matrix:
    """Return powers 0 to ``count`` - 1 of equally spaced samples of [-1, 1], shape (size, count)."""
    return np.vander(np.linspace(-1, 1, size), count, increasing=True)


def _orthonormalised(columns: Matrix) -> Matrix:
    """Return as rows an orthonormal basis in which the k-th vector is orthogonal to the columns before the k-th."""
    return np.linalg.qr(columns).Q.T
