"""Thresholding in a basis at k sigma, at the universal threshold, and in the best bandlet basis."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor

from gahbench import Basis, Names, Truth
from gahbench_plugins.bases.bandlet import Bandlet
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


class BandletSelection(Threshold):
    """Hard thresholding at T = k sigma in the best orthonormal bandlet basis of the noisy image.

    The basis minimises ||f - f_M||^2 + T^2 M plus a penalty for its geometry, where f_M is the approximation of the
    noisy image f by its M coefficients above T. This penalised choice among many bases comes near the optimal rate on
    geometrically regular images (Peyre & Mallat 2008; Dossal, Le Pennec & Mallat 2011). The coarse scale (band 0) is
    not thresholded. The reference is ``threshold`` in the basis ``bandlet`` with a different default of k.

    Parameters
    ----------
    wavelet
        The orthonormal wavelet of the bandlet transform; with ``null`` squares of the image itself are transformed.
    k
        Threshold in units of sigma; ``null`` to tune it at each noise level on validation images. The default is a
        little above 3, the usual value in a fixed basis, since the best of many bases fits some of the noise.
    images
        Largest number of validation images for tuning.
    """

    display_name = "bandlet thresholding"
    citation = ("peyre-2008", "dossal-2011")
    label_parameters = ("wavelet",)

    def __init__(
        self,
        wavelet: str | None = "sym5",
        k: Annotated[float, Field(gt=0)] | None = 3.25,
        images: Annotated[int, Field(ge=1)] = 16,
    ) -> None:
        super().__init__(Bandlet(wavelet), "hard", k, images)

    def guess(self, sigma: float) -> float:
        """Return the default of k."""
        return 3.25
