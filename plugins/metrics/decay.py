"""Decay of the sorted coefficients of clean images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from gahbench import Basis, Metric, Scores, Shape, Truth
from gahbench.evaluation import MAX_RANK, MIN_TERMS, Evaluation, coefficient_decay

from .._papers import KADKHODAIE_2024


class Decay(Metric):
    """Fitted exponent alpha of the decay c_(k)^2 ~ k^-(alpha+1) of the clean images' sorted coefficients.

    The coefficients are computed in the basis of the entrant; entrants without an orthonormal basis have no value. An
    adaptive basis is adapted by the oracle at each noise level. With a larger exponent fewer coefficients are
    significant, and oracle thresholding has slope alpha/(alpha+1) (Kadkhodaie 2024, equation 13).

    Parameters
    ----------
    min_terms
        First rank of the fit, at least 1.
    max_terms
        Last rank of the fit, divided by the square root of the number of coefficients.
    """

    citation = KADKHODAIE_2024

    def __init__(
        self, min_terms: Annotated[int, Field(ge=1)] = MIN_TERMS, max_terms: Annotated[float, Field(gt=0)] = MAX_RANK
    ) -> None:
        self.min_terms = min_terms
        self.max_terms = max_terms

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with too few coefficients to fit."""
        check_ranks("decay", shape, shape[1] * shape[2], self.min_terms, self.max_terms)

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the exponent for every image at every noise level, averaged over channels."""
        basis = getattr(evaluation.denoiser, "basis", None)
        if not isinstance(basis, Basis) or not basis.is_orthonormal(evaluation.shape):
            return Scores([])
        values = torch.stack([self._exponents(basis, evaluation.truth, sigma) for sigma in evaluation.sigmas])
        levels, images = values.isfinite().nonzero(as_tuple=True)
        return Scores(
            value=values[levels, images].tolist(),
            sigma=[evaluation.sigmas[level] for level in levels.tolist()],
            image=images.tolist(),
        )

    def _exponents(self, basis: Basis, truth: Truth, sigma: float) -> torch.Tensor:
        exponents = []
        for part in basis.parts(truth.double()):
            coefficients = basis.adapt_to(part, sigma).analysis(part.clean).flatten(2).cpu().numpy()
            exponents.append(torch.as_tensor(coefficient_decay(coefficients, self.min_terms, self.max_terms)).mean(1))
        return torch.cat(exponents)


def check_ranks(name: str, shape: Shape, count: int, min_terms: int, max_terms: float) -> None:
    """Raise ``ValueError`` if the fit would use fewer than 4 of ``count`` coefficients."""
    last = int(max_terms * count**0.5)
    if last < min_terms + 3:
        raise ValueError(
            f"{name} fits ranks {min_terms} to {last} on images {shape}, fewer than 4; accepted: larger images, "
            "or other values of 'min_terms' and 'max_terms'"
        )
