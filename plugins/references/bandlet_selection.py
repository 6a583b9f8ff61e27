"""Bandlets chosen from the noisy image."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .._papers import DOSSAL_2011, PEYRE_2008
from ..bases.bandlet import Bandlet
from ._shrinkage import TunedThreshold


class BandletSelection(TunedThreshold):
    """Hard thresholding at T = k sigma in the best orthonormal bandlet basis of the noisy image.

    The basis is the one of least ||f - f_M||^2 + T^2 M plus a charge for its geometry, where f_M is what is left of the
    noisy image f when only its M coefficients above T are kept: a penalised choice among many bases, which comes
    near the optimal rate on geometrically regular images (Peyre & Mallat 2008; Dossal, Le Pennec & Mallat 2011). The
    coarse scale (band 0) is left alone. It is ``threshold`` in the basis ``bandlet``, but for the default of k.

    Parameters
    ----------
    wavelet
        The orthonormal wavelet underneath; ``null`` for none: then the pixels are cut into squares.
    k
        Threshold in units of the noise; null for the best at each noise level on validation images. The default is a
        little more than the 3 that is usual in a fixed basis, since the best of many bases fits some of the noise.
    images
        Most validation images to tune on.
    """

    citation = (PEYRE_2008, DOSSAL_2011)
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
