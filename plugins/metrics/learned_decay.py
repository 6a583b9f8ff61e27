"""The rate at which coefficients fall in the basis that a denoiser learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Metric, Scores, Shape
from gahbench.evaluation import Evaluation, coefficient_decay

from .._papers import KADKHODAIE_2024
from ._eigenbasis import check_eigenvectors
from .sparsity import coefficients


class LearnedDecay(Metric):
    """Fitted exponent alpha of the decay c_(k)^2 ~ k^-(alpha+1) of the clean image in the denoiser's eigenvectors.

    These are the eigenvectors of the symmetric part of the Jacobian at the noisy image. If they were optimal, the error
    would fall as sigma^(2 alpha/(alpha+1)) (Kadkhodaie 2024, equation 13). ``decay`` is the same in a basis that
    references shrink in.

    Parameters
    ----------
    min_terms, max_terms
        The ranks that are fitted: from ``min_terms`` to ``max_terms`` times the square root of the number of values.
    """

    citation = KADKHODAIE_2024
    needs = frozenset({"jacobian"})

    def __init__(
        self,
        min_terms: Annotated[int, Field(ge=1)] = 8,
        max_terms: Annotated[float, Field(gt=0)] = 2.0,
    ) -> None:
        self.min_terms = min_terms
        self.max_terms = max_terms

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images of more than 2304 values, or too few to fit."""
        check_eigenvectors(shape, "learned-decay")
        last = int(self.max_terms * (shape[0] * shape[1] * shape[2]) ** 0.5)
        if last < self.min_terms + 3:
            raise ValueError(
                f"learned-decay fits ranks {self.min_terms} to {last} on images {shape}, which are fewer than 4; "
                "accepted are larger images, or another 'min_terms' and 'max_terms'"
            )

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the exponent of every image at every noise level; none without a Jacobian."""
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            found = coefficients(evaluation, sigma)
            if found is None:
                return Scores([])
            values["", sigma] = torch.as_tensor(coefficient_decay(found.numpy(), self.min_terms, self.max_terms))
        return Scores.parts(values)
