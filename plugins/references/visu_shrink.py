"""VisuShrink: thresholding at the universal threshold."""

from __future__ import annotations

import math
from typing import Annotated

from gahbench import Basis, Names
from gahbench_plugins.references.shrinkage import Rule, SingleThreshold


class VisuShrink(SingleThreshold):
    """VisuShrink: thresholding at the universal threshold sigma sqrt(2 log d), which noise rarely exceeds.

    The number d of detail coefficients per channel excludes the coarse scale; in a redundant frame it is larger than
    the number of pixels. With the soft rule the expected squared error is at most 2 log d + 1 times the sum of sigma^2
    and the error of an oracle that knows which coefficients exceed sigma (Donoho & Johnstone 1994, theorem 1). The
    denoised images are smooth, with a larger error than at smaller thresholds.

    Parameters
    ----------
    basis
        Any basis except bases for oracles only. An adaptive basis is adapted to the noisy image with d equal to the
        number of pixels.
    rule
        ``soft``, as in the publication, or ``hard``.
    """

    display_name = "VisuShrink, {basis}"

    def __init__(self, basis: Annotated[Basis, Names("basis", default="sym4")], rule: Rule = "soft") -> None:
        super().__init__(basis, rule)

    def multiple(self, details: int, sigma: float) -> float:
        """Return sqrt(2 log d) for d detail coefficients, at all noise levels."""
        return math.sqrt(2 * math.log(max(details, 1)))
