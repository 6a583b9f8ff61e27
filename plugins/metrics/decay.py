"""How fast sorted coefficients fall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from gahbench import Basis, Metric, Scores, Shape, Truth
from gahbench.evaluation import MAX_TERMS, MIN_TERMS, Evaluation, coefficient_decay


class Decay(Metric):
    """Fitted exponent alpha of the decay c_(k)^2 ~ k^-(alpha+1) of the clean images' sorted coefficients.

    The coefficients are those in the basis that the entrant shrinks in; entrants without an orthonormal basis have no
    value. A basis that is adapted to images is adapted by the oracle, at each noise level anew. The larger the
    exponent, the fewer coefficients matter: oracle thresholding then has slope alpha/(alpha+1) (Kadkhodaie 2024,
    equation 13).

    Parameters
    ----------
    fewest, most
        The ranks that are fitted: from ``fewest`` to ``most`` times the square root of the number of coefficients.
    """

    def __init__(
        self, fewest: Annotated[int, Field(ge=1)] = MIN_TERMS, most: Annotated[float, Field(gt=0)] = MAX_TERMS
    ) -> None:
        self.fewest = fewest
        self.most = most

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with too few coefficients to fit."""
        last = int(self.most * (shape[1] * shape[2]) ** 0.5)
        if last < self.fewest + 3:
            raise ValueError(
                f"decay fits ranks {self.fewest} to {last} on images {shape}, which are fewer than 4; accepted are "
                "larger images, or another 'fewest' and 'most'"
            )

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the exponent of every image at every noise level, the mean over its channels.

        There are none where the entrant has no orthonormal basis, and none of an image with coefficients among the
        ranks that are zero but for rounding.
        """
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
        found = []
        for part in basis.parts(truth.double()):
            coefficients = basis.adapt_to(part, sigma).analysis(part.clean).flatten(2).cpu().numpy()
            found.append(torch.as_tensor(coefficient_decay(coefficients, self.fewest, self.most)).mean(1))
        return torch.cat(found)
