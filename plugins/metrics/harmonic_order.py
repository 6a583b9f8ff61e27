"""Whether the eigenvectors that a denoiser keeps most are those that oscillate least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from gahbench import Basis, Metric, Names, Scores, Shape
from gahbench.evaluation import Evaluation

from ..bases._graph import checked_graph_basis
from ..bases._matrices import of_all_channels
from ._eigenbasis import check_eigenvectors, kept, scores_of


class HarmonicOrder(Metric):
    """Rank correlation of the eigenvectors' order with how fast they oscillate on the image's graph.

    Spearman's correlation of k with e_k' L e_k, over the first K = round(trace) eigenvectors of the Jacobian's
    symmetric part, largest eigenvalue first; L is the graph Laplacian of the clean image. It is 1 where eigenvectors
    are kept the less the faster they oscillate, and around 0 where there is no such order; where all oscillate alike,
    there is no value. Channels are added up.

    Part: ``commutation``, |S L - L S| / (2 |S| |L|) (Frobenius norms), 0 where S, the symmetric part, has the
    eigenvectors of L.

    Parameters
    ----------
    basis
        A basis of harmonics of a graph, which gives L.
    """

    needs = frozenset({"jacobian"})

    def __init__(self, basis: Annotated[Basis, Names("basis", default="graph-laplacian")]) -> None:
        self.basis = checked_graph_basis(basis)

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images of more than 2304 values."""
        check_eigenvectors(shape, "harmonic-order")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the correlation of every image at every noise level; none without a Jacobian."""
        self.check(evaluation.shape, evaluation.sigmas)
        laplacian, channels = self.basis.laplacian(evaluation.clean), evaluation.shape[0]

        def parts(sigma: float, eigenvalues: Tensor, vectors: Tensor) -> dict[str, Tensor]:
            # Uploaded once, at the first noise level.
            nonlocal laplacian
            laplacian = laplacian.to(vectors)
            split = vectors.reshape(*vectors.shape[:2], channels, -1)
            energies = (split.flatten(1, 2) @ laplacian).view_as(split).mul(split).sum((2, 3)).cpu()
            counts = (kept(eigenvalues) > 0).sum(1).tolist()
            correlations = [rank_correlation(energy[:count]) for energy, count in zip(energies, counts, strict=True)]
            symmetric = (vectors.mT * eigenvalues[:, None]) @ vectors
            return {"": torch.tensor(correlations), "commutation": _commutation(symmetric, laplacian, channels).cpu()}

        return scores_of(evaluation, parts)


def rank_correlation(energies: Tensor) -> float:
    """Return Spearman's correlation of energies with their places; NaN for fewer than three, or if all are equal."""
    if len(energies) < 3:
        return float("nan")
    _, group, sizes = energies.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    # Equal ones share the mean of their ranks.
    ranks = (sizes.cumsum(0).double() - (sizes - 1) / 2)[group]
    places = torch.arange(len(energies), dtype=torch.float64)
    one, other = ranks - ranks.mean(), places - places.mean()
    scale = (one.square().sum() * other.square().sum()).sqrt()
    return float((one * other).sum() / scale) if scale > 0 else float("nan")


def _commutation(symmetric: Tensor, laplacian: Tensor, channels: int) -> Tensor:
    laplacian = of_all_channels(laplacian, channels)
    product = symmetric @ laplacian
    # As both are symmetric, L S is the transpose of S L.
    norms: list[Tensor] = [matrix.flatten(1).norm(dim=1) for matrix in (product - product.mT, symmetric, laplacian)]
    return norms[0] / (2 * norms[1] * norms[2]).clamp_min(1e-300)
