"""Thresholding of wavelet coefficients, or of those in another basis."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gahbench import Basis, Names

from .._papers import DONOHO_1994
from ._shrinkage import Rule, TunedThreshold


class Threshold(TunedThreshold):
    """Hard or soft thresholding at k sigma, the same for all coefficients but those of the coarse scale (band 0).

    In a fixed orthonormal basis its expected squared error has a closed form (Donoho & Johnstone 1994). In a frame or a
    biorthogonal basis the threshold of a coefficient is k sigma times its noise level.

    Parameters
    ----------
    basis
        Any basis but those for oracles only. An adaptive one is adapted to the noisy image for the same
        threshold, at a charge for the choice.
    rule
        ``hard`` keeps or kills; ``soft`` also brings what it keeps nearer to 0 by the threshold.
    k
        Threshold in units of the noise; null for the best at each noise level on validation images. 3 is usual with
        ``hard``; ``soft``, which takes the threshold from all that it keeps, is best at about half of that, 1.5.
    images
        Most validation images to tune on.
    """

    citation = DONOHO_1994

    def __init__(
        self,
        basis: Annotated[Basis, Names("basis", default="sym4")],
        rule: Rule = "hard",
        k: Annotated[float, Field(gt=0)] | None = 3.0,
        images: Annotated[int, Field(ge=1)] = 16,
    ) -> None:
        super().__init__(basis, rule, k, images)
