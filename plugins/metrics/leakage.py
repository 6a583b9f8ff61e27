"""Energy that a denoiser keeps beyond the tangent space of a manifold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gahbench import Metric, Scores, Shape
from gahbench.evaluation import Evaluation

from .._papers import KADKHODAIE_2024
from ._eigenbasis import check_eigenvectors, scores_of


class Leakage(Metric):
    """Sum of the eigenvalues beyond the dimension m of the manifold that the images are on.

    As sigma tends to 0 the best denoiser on a manifold projects on the tangent space: m eigenvalues of 1, and 0 beyond.
    Networks keep more, vectors that are harmonic and not tangent: the sign of their inductive bias (Kadkhodaie 2024,
    section 3.3). The headline is sum_{k > m} lambda_k, of the symmetric part of the Jacobian.

    Parts: ``extra``, how many eigenvalues above 1/2 there are beyond m (fewer: negative); ``angle`` and
    ``largest-angle``, in degrees, the mean and the largest principal angle between the first m eigenvectors and the
    tangent space. There are values for datasets that provide tangent spaces.
    """

    citation = KADKHODAIE_2024
    needs = frozenset({"jacobian"})
    higher_is_better = False

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images of more than 2304 values."""
        check_eigenvectors(shape, "leakage")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the leakage of every image at every noise level; none without a Jacobian or tangent spaces."""
        dataset = evaluation.dataset
        count, start = len(evaluation.clean), evaluation.start
        known = None if dataset is None else dataset.true_basis(evaluation.split, count, start)
        if known is None or known.energies is not None:
            return Scores([])
        dimension = known.vectors.shape[2]

        def parts(sigma: float, eigenvalues: Tensor, vectors: Tensor) -> dict[str, Tensor]:
            eigenvalues, leading = eigenvalues.cpu(), vectors[:, :dimension].cpu()
            cosines = torch.linalg.svdvals(leading @ known.vectors.to(leading)).clamp(max=1)
            angles = torch.rad2deg(torch.arccos(cosines))
            return {
                "": eigenvalues[:, dimension:].sum(1),
                "extra": (eigenvalues > 0.5).sum(1) - dimension,
                "angle": angles.mean(1),
                "largest-angle": angles.amax(1),
            }

        return scores_of(evaluation, parts)
