"""Common parts of metrics of the eigenvectors of Jacobians."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gahbench import Basis, Scores, Shape
from gahbench.evaluation import Evaluation
from gahbench.jacobian import LARGEST_EXACT

from .._messages import name_of


def check_eigenvectors(shape: Shape, name: str) -> None:
    """Refuse images (C, H, W) whose Jacobian is too large for all eigenvectors."""
    size = shape[0] * shape[1] * shape[2]
    if size > LARGEST_EXACT:
        raise ValueError(
            f"{name} needs all eigenvectors of the Jacobian: accepted are images of up to {LARGEST_EXACT} values, as "
            f"in 48x48 grey, not {size} of {'x'.join(map(str, shape))}"
        )


def scores_of(evaluation: Evaluation, parts: Callable[[float, Tensor, Tensor], Mapping[str, Tensor]]) -> Scores:
    """Return the parts, given a noise level, eigenvalues (N, d) and eigenvectors as rows; none without a Jacobian."""
    values: dict[tuple[str, float], Tensor] = {}
    for sigma in evaluation.sigmas:
        pairs = evaluation.local.eigenpairs(sigma)
        if pairs is None:
            return Scores([])
        values |= {(part, sigma): value for part, value in parts(sigma, *pairs).items()}
    return Scores.parts(values)


def check_orthonormal(basis: Basis, shape: Shape, name: str) -> None:
    """Refuse images (C, H, W) on which a basis is not orthonormal."""
    basis.check_shape(shape)
    if not basis.is_orthonormal(shape):
        raise ValueError(
            f"{name}: basis '{name_of(basis)}' is not orthonormal on images {shape}; accepted are bases that are"
        )


def effective_dimension(eigenvalues: Tensor) -> Tensor:
    """Return K = round(trace), at least 1, shape (N,), of eigenvalues (N, d): how many dimensions a denoiser keeps."""
    return eigenvalues.sum(1).round().clamp(1, eigenvalues.shape[1]).long()


def kept(eigenvalues: Tensor) -> Tensor:
    """Return weights of eigenvectors, shape (N, d): the first K eigenvalues, without those below 0."""
    counts = effective_dimension(eigenvalues)
    places = torch.arange(eigenvalues.shape[1], device=eigenvalues.device)
    return torch.where(places < counts[:, None], eigenvalues.clamp(min=0), 0.0)
