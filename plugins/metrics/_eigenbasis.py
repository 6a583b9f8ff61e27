"""Helpers for metrics based on eigenvectors of Jacobians."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gahbench import Basis, Scores, Shape
from gahbench.evaluation import Evaluation
from gahbench.jacobian import LARGEST_EXACT, top

from .._messages import name_of


def check_eigenvectors(shape: Shape, name: str) -> None:
    """Raise ``ValueError`` for image shapes (C, H, W) whose Jacobian is too large for all eigenvectors."""
    size = shape[0] * shape[1] * shape[2]
    if size > LARGEST_EXACT:
        raise ValueError(
            f"{name} needs all eigenvectors of the Jacobian; accepted: images of up to {LARGEST_EXACT} values, such "
            f"as 48x48 grey, not {size} of {'x'.join(map(str, shape))}"
        )


def score_eigenvectors(
    evaluation: Evaluation, parts: Callable[[float, Tensor, Tensor], Mapping[str, Tensor]]
) -> Scores:
    """Return the scores of ``parts(sigma, eigenvalues, eigenvectors)``; no scores without a Jacobian.

    Eigenvalues have shape (N, d), and eigenvectors are the rows of matrices (N, d, d).
    """
    values: dict[tuple[str, float], Tensor] = {}
    for sigma in evaluation.sigmas:
        pairs = evaluation.local_filters.eigenpairs(sigma)
        if pairs is None:
            return Scores([])
        values |= {(part, sigma): value for part, value in parts(sigma, *pairs).items()}
    return Scores.parts(values)


def leading_eigenpairs(evaluation: Evaluation, sigma: float, count: int) -> tuple[Tensor, Tensor] | None:
    """Return eigenvalues (N, k), descending, and eigenvectors (N, k, d): all of small images, else the first ``count``.

    The result is ``None`` without a Jacobian.
    """
    maps = evaluation.local_filters.maps(sigma)
    if maps is None or maps.is_small:
        return evaluation.local_filters.eigenpairs(sigma)
    leading = top(maps, min(count, maps.size))
    return leading.values, leading.vectors


def check_orthonormal(basis: Basis, shape: Shape, name: str) -> None:
    """Raise ``ValueError`` for image shapes (C, H, W) on which a basis is not orthonormal."""
    basis.check_shape(shape)
    if not basis.is_orthonormal(shape):
        raise ValueError(
            f"{name}: basis '{name_of(basis)}' is not orthonormal on images {shape}; accepted: orthonormal bases"
        )


def effective_dimension(eigenvalues: Tensor) -> Tensor:
    """Return the effective dimension K = round(trace), at least 1, shape (N,), given eigenvalues (N, d)."""
    return eigenvalues.sum(1).round().clamp(1, eigenvalues.shape[1]).long()


def leading_eigenvalues(eigenvalues: Tensor) -> Tensor:
    """Return the first K eigenvalues, clamped to 0 or more, and 0 for all other eigenvalues, shape (N, d)."""
    counts = effective_dimension(eigenvalues)
    indices = torch.arange(eigenvalues.shape[1], device=eigenvalues.device)
    return torch.where(indices < counts[:, None], eigenvalues.clamp(min=0), 0.0)
