"""Order of the eigenvectors of a denoiser by their frequency on a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from gahbench import Basis, Metric, Names, Scores, Shape
from gahbench.evaluation import Evaluation

from ..bases._graph import check_graph_basis
from ..bases._matrices import block_diagonal
from ._eigenbasis import check_eigenvectors, leading_eigenvalues, score_eigenvectors


class HarmonicOrder(Metric):
    """Rank correlation between the order of the eigenvectors e_k and their frequency on a graph of the clean image.

    The value is Spearman's correlation between k and the graph frequency e_k' L e_k, over the first K = round(trace)
    eigenvectors of the Jacobian's symmetric part, largest eigenvalue first, where L is the graph Laplacian of the clean
    image. It is 1 if eigenvalues decrease with frequency, and near 0 without such an order. There is no value if all
    frequencies are equal. Frequencies are sums over channels.

    Part: ``commutation``, |S L - L S| / (2 |S| |L|) (Frobenius norms) for the symmetric part S of the Jacobian, 0 if S
    and L have the same eigenvectors.

    Parameters
    ----------
    basis
        A basis of harmonics of a graph, which defines L.
    """

    needs = frozenset({"jacobian"})

    def __init__(self, basis: Annotated[Basis, Names("basis", default="graph-laplacian")]) -> None:
        self.basis = check_graph_basis(basis)

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with more than 2304 values."""
        check_eigenvectors(shape, "harmonic-order")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the correlation and its part for every image at every noise level; no scores without a Jacobian."""
        self.check(evaluation.shape, evaluation.sigmas)
        laplacian, channels = self.basis.laplacian(evaluation.clean), evaluation.shape[0]

        def parts(sigma: float, eigenvalues: Tensor, vectors: Tensor) -> dict[str, Tensor]:
            # The Laplacian moves to the device once, at the first noise level.
            nonlocal laplacian
            laplacian = laplacian.to(vectors)
            split = vectors.reshape(*vectors.shape[:2], channels, -1)
            energies = (split.flatten(1, 2) @ laplacian).view_as(split).mul(split).sum((2, 3)).cpu()
            counts = (leading_eigenvalues(eigenvalues) > 0).sum(1).tolist()
            correlations = [rank_correlation(energy[:count]) for energy, count in zip(energies, counts, strict=True)]
            symmetric = (vectors.mT * eigenvalues[:, None]) @ vectors
            return {"": torch.tensor(correlations), "commutation": _commutation(symmetric, laplacian, channels).cpu()}

        return score_eigenvectors(evaluation, parts)


def rank_correlation(energies: Tensor) -> float:
    """Return Spearman's correlation of energies with their indices; NaN for fewer than 3, or for equal, energies."""
    if len(energies) < 3:
        return float("nan")
    _, group, sizes = energies.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    # Equal energies share the mean of their ranks.
    ranks = (sizes.cumsum(0).double() - (sizes - 1) / 2)[group]
    indices = torch.arange(len(energies), dtype=torch.float64)
    first, second = ranks - ranks.mean(), indices - indices.mean()
    scale = (first.square().sum() * second.square().sum()).sqrt()
    return float((first * second).sum() / scale) if scale > 0 else float("nan")


def _commutation(symmetric: Tensor, laplacian: Tensor, channels: int) -> Tensor:
    laplacian = block_diagonal(laplacian, channels)
    product = symmetric @ laplacian
    # Both matrices are symmetric, so L S is the transpose of S L.
    norms: list[Tensor] = [matrix.flatten(1).norm(dim=1) for matrix in (product - product.mT, symmetric, laplacian)]
    return norms[0] / (2 * norms[1] * norms[2]).clamp_min(1e-300)
