"""Hard and soft thresholding in a basis."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from gahbench import Basis, Names, Truth
from gahbench_plugins.references.shrinkage import Rule, SingleThreshold
from gahbench_plugins.references.tuned import Tuned


class Threshold(SingleThreshold, Tuned):
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
    tuned_parameter = "k"
    limits = (0.25, 16.0)
    # The number of noise coefficients above the threshold changes quickly with the threshold.
    refinements = (6, 12)

    def __init__(
        self,
        basis: Annotated[Basis, Names("basis", default="sym4")],
        rule: Rule = "hard",
        k: Annotated[float, Field(gt=0)] | None = 3.0,
        images: Annotated[int, Field(ge=1)] = 16,
    ) -> None:
        SingleThreshold.__init__(self, basis, rule)
        Tuned.__init__(self, k, images)

    def multiple(self, details: int, sigma: float) -> float:
        """Return k, which is tuned first if it is not fixed."""
        return self.value(sigma)

    def filter_images(self, noisy: Tensor, sigma: float, value: float) -> Tensor:
        """Return the images denoised with k = ``value``, shape (N, C, H, W)."""
        return Threshold(self.basis, self.rule, value, self._max_images).denoise(noisy, sigma, Truth(noisy))

    def guess(self, sigma: float) -> float:
        """Return the usual k: 3 for hard and 1.5 for soft thresholding."""
        return 3.0 if self.rule == "hard" else 1.5
