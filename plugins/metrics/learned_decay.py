"""Decay of the sorted coefficients of clean images in the eigenvectors of a denoiser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Metric, Scores, Shape
from gahbench.evaluation import Evaluation, coefficient_decay

from .._papers import KADKHODAIE_2024
from ._eigenbasis import check_eigenvectors, score_eigenvectors
from .decay import check_ranks
from .sparsity import coefficients


class LearnedDecay(Metric):
    """Fitted exponent alpha of the decay c_(k)^2 ~ k^-(alpha+1) of clean images in the denoiser's eigenvectors.

    The eigenvectors belong to the symmetric part of the Jacobian at the noisy image. If the eigenvectors are optimal,
    the error is proportional to sigma^(2 alpha/(alpha+1)) (Kadkhodaie 2024, equation 13). ``decay`` is the exponent in
    the basis of a reference; by default it is fitted to other ranks.

    Parameters
    ----------
    min_terms
        First rank of the fit, at least 1.
    max_terms
        Last rank of the fit, divided by the square root of the number of values.
    """

    citation = KADKHODAIE_2024
    needs = frozenset({"jacobian"})

    def __init__(
        self, min_terms: Annotated[int, Field(ge=1)] = 8, max_terms: Annotated[float, Field(gt=0)] = 2.0
    ) -> None:
        self.min_terms = min_terms
        self.max_terms = max_terms

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with more than 2304 values, or with too few values to fit."""
        check_eigenvectors(shape, "learned-decay")
        check_ranks("learned-decay", shape, math.prod(shape), self.min_terms, self.max_terms)

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the exponent for every image at every noise level; no scores without a Jacobian."""

        def parts(sigma: float, eigenvalues: Tensor, vectors: Tensor) -> dict[str, Tensor]:
            sizes = coefficients(evaluation.clean, vectors).numpy()
            return {"": torch.as_tensor(coefficient_decay(sizes, self.min_terms, self.max_terms))}

        return score_eigenvectors(evaluation, parts)
