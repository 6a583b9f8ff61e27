"""Sparsity of clean images in the eigenvectors of a denoiser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from gahbench import Basis, Metric, Names, Scores, Shape
from gahbench.evaluation import Evaluation

from .._papers import KADKHODAIE_2024
from ..references.oracle import oracle_weights
from ._eigenbasis import check_eigenvectors, check_orthonormal, score_eigenvectors
from ._shared_bases import basis_on


class Sparsity(Metric):
    """Gain in dB of oracle shrinkage in the denoiser's eigenvectors over oracle shrinkage in a basis.

    The risk is sum_k sigma^2 c_k^2 / (c_k^2 + sigma^2), where c_k are the coefficients of the clean image (Kadkhodaie
    2024, equation 12), in the eigenvectors of the symmetric part of the Jacobian or in the basis. Do not rank by this
    metric alone: a denoiser whose first eigenvector is the image itself has a large gain.

    Parameters
    ----------
    basis
        Any orthonormal basis.
    """

    citation = KADKHODAIE_2024
    needs = frozenset({"jacobian"})
    unit = "dB"
    label_parameters = ("basis",)

    def __init__(self, basis: Annotated[Basis, Names("basis", default="sym4")]) -> None:
        self.basis = basis

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with more than 2304 values, or on which the basis is not orthonormal."""
        check_eigenvectors(shape, "sparsity")
        check_orthonormal(self.basis, shape, "sparsity")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the gain for every image at every noise level; no scores without a Jacobian."""
        self.check(evaluation.shape, evaluation.sigmas)
        basis = basis_on(self.basis, evaluation.dataset)
        if basis is None:
            return Scores([])
        truth = evaluation.truth.double()

        def parts(sigma: float, eigenvalues: Tensor, vectors: Tensor) -> dict[str, Tensor]:
            eigen_coefficients = coefficients(evaluation.clean, vectors)
            adapted = [basis.adapt_to(part, sigma).analysis(part.clean).flatten(1) for part in basis.parts(truth)]
            return {"": 10 * (_risk(torch.cat(adapted), sigma) / _risk(eigen_coefficients, sigma)).log10()}

        return score_eigenvectors(evaluation, parts)


def coefficients(clean: Tensor, vectors: Tensor) -> Tensor:
    """Return the coefficients (N, d) of clean images in eigenvectors (N, d, d), float64."""
    vectors = vectors.cpu()
    return (vectors @ clean.to(vectors).flatten(1)[..., None])[..., 0]


def _risk(coefficients: Tensor, sigma: float) -> Tensor:
    return sigma**2 * oracle_weights(coefficients, coefficients.new_tensor(sigma)).sum(1)
