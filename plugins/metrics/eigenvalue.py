"""The k-th largest eigenvalue of the Jacobian of a denoiser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from gahbench import Metric, Scores, Shape
from gahbench.evaluation import Evaluation

from .._papers import KADKHODAIE_2024
from ._eigenbasis import leading_eigenpairs


class Eigenvalue(Metric):
    """The k-th largest eigenvalue of the symmetric part of the denoiser's Jacobian at each noisy image.

    An eigenvalue near 1 belongs to a direction that the denoiser preserves, and an eigenvalue near 0 to a direction
    that it removes (Kadkhodaie 2024, figure 3). Eigenvalues are not clipped. For images of more than 2304 values they
    are computed by the Lanczos method, whose time grows with ``k``.

    Parameters
    ----------
    k
        Rank of the eigenvalue, from 1 to the number of values of an image; 1 is the largest eigenvalue.
    """

    citation = KADKHODAIE_2024
    needs = frozenset({"jacobian"})
    higher_is_better = None
    titles: ClassVar[dict[str, str]] = {"": "eigenvalue number {k}"}
    label_parameters = ("k",)

    def __init__(self, k: Annotated[int, Field(ge=1)] = 1) -> None:
        self.k = k

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with fewer than ``k`` values."""
        if self.k > math.prod(shape):
            raise ValueError(
                f"eigenvalue: k={self.k}; accepted: 1 to {math.prod(shape)}, the number of values of images "
                f"{'x'.join(map(str, shape))}"
            )

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the eigenvalue for every image at every noise level; no values without a Jacobian."""
        self.check(evaluation.shape, evaluation.sigmas)
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            pairs = leading_eigenpairs(evaluation, sigma, self.k)
            if pairs is not None:
                values["", sigma] = pairs[0][:, self.k - 1].cpu()
        return Scores.parts(values)
