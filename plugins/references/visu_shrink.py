"""The universal threshold."""

from __future__ import annotations

import math
from typing import Annotated

from gahbench import Basis, Names

from .._papers import DONOHO_1994
from ._shrinkage import Rule, SingleThreshold


class VisuShrink(SingleThreshold):
    """VisuShrink: thresholding at sigma sqrt(2 log d), which pure noise hardly ever exceeds.

    d is the number of coefficients of one channel that are not of the coarse scale; in a redundant frame it counts all
    its detail coefficients, which are more than the pixels. With the soft rule its expected squared error is at most
    2 log d + 1 times the sum of sigma^2 and the error of an oracle that sees which coefficients exceed the noise
    (Donoho & Johnstone 1994, theorem 1). It leaves smooth images, with a larger error than smaller thresholds have.

    Parameters
    ----------
    basis
        Any basis but those for oracles only; an adaptive one is adapted to the noisy image, d being its number of
        pixels then.
    rule
        ``soft``, as in the paper's name for it, or ``hard``.
    """

    citation = DONOHO_1994

    def __init__(self, basis: Annotated[Basis, Names("basis", default="sym4")], rule: Rule = "soft") -> None:
        super().__init__(basis, rule)

    def multiple(self, details: int, sigma: float) -> float:
        """Return sqrt(2 log d), whatever the noise."""
        return math.sqrt(2 * math.log(max(details, 1)))
