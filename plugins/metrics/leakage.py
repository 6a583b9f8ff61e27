"""Eigenvalues of a denoiser beyond the dimension of a manifold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gahbench import Metric, Scores, Shape
from gahbench.evaluation import Evaluation

from .._papers import KADKHODAIE_2024
from ._eigenbasis import check_eigenvectors, score_eigenvectors


class Leakage(Metric):
    """Sum of the Jacobian's eigenvalues beyond the dimension m of the image manifold, sum_{k > m} lambda_k.

    As sigma tends to 0 the optimal denoiser on a manifold projects onto the tangent space, so that m eigenvalues are 1
    and all other eigenvalues are 0. Networks also keep harmonic vectors outside the tangent space, which shows their
    inductive bias (Kadkhodaie 2024, section 3.3). Eigenvalues and eigenvectors belong to the symmetric part of the
    Jacobian. The metric has values only on datasets that provide tangent spaces.

    Parts: ``extra``, the number of eigenvalues above 1/2 minus m; ``angle`` and ``largest-angle``, the mean and the
    largest principal angle, in degrees, between the first m eigenvectors and the tangent space.
    """

    citation = KADKHODAIE_2024
    needs = frozenset({"jacobian"})
    higher_is_better = False

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with more than 2304 values."""
        check_eigenvectors(shape, "leakage")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the leakage and its parts at every noise level; no scores without a Jacobian or without tangents."""
        dataset = evaluation.dataset
        count, start = len(evaluation.clean), evaluation.start
        tangents = None if dataset is None else dataset.true_basis(evaluation.split, count, start)
        if tangents is None or tangents.energies is not None:
            return Scores([])
        dimension = tangents.vectors.shape[2]

        def parts(sigma: float, eigenvalues: Tensor, vectors: Tensor) -> dict[str, Tensor]:
            eigenvalues, leading = eigenvalues.cpu(), vectors[:, :dimension].cpu()
            cosines = torch.linalg.svdvals(leading @ tangents.vectors.to(leading)).clamp(max=1)
            angles = torch.rad2deg(torch.arccos(cosines))
            return {
                "": eigenvalues[:, dimension:].sum(1),
                "extra": (eigenvalues > 0.5).sum(1) - dimension,
                "angle": angles.mean(1),
                "largest-angle": angles.amax(1),
            }

        return score_eigenvectors(evaluation, parts)
