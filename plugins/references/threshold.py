"""Hard and soft thresholding in a basis."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gahbench import Basis, Names

from .._papers import DONOHO_1994
from ._shrinkage import Rule, TunedThreshold


class Threshold(TunedThreshold):
    """Hard or soft thresholding at k sigma of all coefficients except the coarse scale (band 0).

    In a fixed orthonormal basis the expected squared error has a closed form (Donoho & Johnstone 1994). In a frame or a
    biorthogonal basis the threshold of a coefficient is k sigma times its relative noise level.

    Parameters
    ----------
    basis
        Any basis except bases for oracles only. An adaptive basis is adapted to the noisy image for the same threshold,
        with a penalty for the choice.
    rule
        ``hard`` sets coefficients below the threshold to 0; ``soft`` also moves the other coefficients towards 0 by the
        threshold.
    k
        Threshold in units of sigma; ``null`` to tune it at each noise level on validation images. Usual values are 3
        for ``hard`` and 1.5 for ``soft``, which reduces all coefficients.
    images
        Largest number of validation images for tuning.
    """

    display_name = "thresholding, {basis}"
    citation = DONOHO_1994

    def __init__(
        self,
        basis: Annotated[Basis, Names("basis", default="sym4")],
        rule: Rule = "hard",
        k: Annotated[float, Field(gt=0)] | None = 3.0,
        images: Annotated[int, Field(ge=1)] = 16,
    ) -> None:
        super().__init__(basis, rule, k, images)
