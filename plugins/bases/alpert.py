"""Orthonormal Alpert multiwavelets of one-dimensional samples, as a cascade of small matrices."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Matrix = NDArray[np.float64]
#: Number of samples of the parts that are transformed by a single matrix.
SHORT = 16


def alpert(values: Tensor, moments: int) -> Tensor:
    """Return the discrete Alpert transform of rows of samples, shape (..., size), with sizes that are powers of 2.

    The first ``moments`` coefficients belong to an orthonormal basis of the polynomials of degree below ``moments`` in
    the index of a sample. All other vectors are orthogonal to these polynomials. They are supported on dyadic parts, in
    order from the longest to the shortest. On each part, they span the functions that are polynomial on both halves but
    not on the whole; the j-th vector on a part is orthogonal to j - 1 more powers (Alpert 1993, on equally spaced
    samples). With ``moments=1`` the transform is the Haar transform. The first non-zero entry of each vector is
    positive.

    The number of operations for each row is of the order of ``size`` times ``moments``.
    """
    first, *steps = _steps(values.shape[-1], moments, values.dtype, values.device)
    parts = values.reshape(*values.shape[:-1], -1, len(first)) @ first.T
    details = [parts[..., moments:]]
    for step in steps:
        parts = parts[..., :moments].reshape(*parts.shape[:-2], -1, 2 * moments) @ step.T
        details.append(parts[..., moments:])
    # Order coefficients of the same length by position within each vector.
    return torch.cat([part.mT.flatten(-2) for part in (parts[..., :moments], *reversed(details))], dim=-1)


def inverse_alpert(coefficients: Tensor, moments: int) -> Tensor:
    """Return the samples of coefficients, both of shape (..., size), by the transpose of :func:`alpert`."""
    *shape, size = coefficients.shape
    first, *steps = _steps(size, moments, coefficients.dtype, coefficients.device)
    parts, start = coefficients[..., None, :moments], moments
    for number, step in enumerate(reversed(steps)):
        count = moments << number
        details = coefficients[..., start : start + count].reshape(*shape, moments, -1).mT
        start += count
        parts = (torch.cat([parts, details], dim=-1) @ step).reshape(*shape, -1, moments)
    details = coefficients[..., start:].reshape(*shape, -1, size // len(first)).mT
    return (torch.cat([parts, details], dim=-1) @ first).flatten(-2)


# Tensors that were created for inference have no derivatives, so that they must not be cached.
@functools.lru_cache(maxsize=128)
@torch.inference_mode(False)
def _steps(size: int, moments: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Return an orthogonal matrix for short parts, and for each longer length a matrix that joins two halves."""
    first, *steps = _cascade(size, moments)[1]
    # A product with a larger matrix is faster than many products with small matrices.
    while steps and len(first) < SHORT:
        # Each row is supported on the first half, and then on the second half.
        wavelets = np.einsum("rn,ij->rijn", first[moments:], np.eye(2)).reshape(-1, 2 * len(first))
        first = np.concatenate([steps.pop(0) @ np.kron(np.eye(2), first[:moments]), wavelets])
    return tuple(torch.from_numpy(step).to(device, dtype) for step in (first, *steps))


def _cascade(size: int, moments: int) -> tuple[Matrix, tuple[Matrix, ...]]:
    """Return the scaling vectors on ``size`` samples as rows, and the matrices of the cascade."""
    # The k-th vector of an orthonormal basis is orthogonal to the powers below k.
    powers = np.vander(np.linspace(-1, 1, size), min(size, 2 * moments), increasing=True)
    if size < 2 * moments:
        rows = step = np.linalg.qr(powers).Q.T
        steps: tuple[Matrix, ...] = ()
    else:
        scaling, steps = _cascade(size // 2, moments)
        # Both halves have the same vectors, as rows of block-diagonal matrices.
        step = np.linalg.qr(np.concatenate([scaling @ powers[: size // 2], scaling @ powers[size // 2 :]])).Q.T
        rows = np.concatenate([step[:, :moments] @ scaling, step[:, moments:] @ scaling], axis=1)
    # Rows are unique up to their sign.
    first = np.argmax(np.abs(rows) > 1e-9 * np.abs(rows).max(axis=1, keepdims=True), axis=1)
    signs = np.sign(np.take_along_axis(rows, first[:, None], axis=1))
    return (signs * rows)[:moments], (*steps, signs * step)
