"""Thresholding in the best bandlet basis of the noisy image."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gahbench_plugins.bases.bandlet import Bandlet
from gahbench_plugins.references.threshold import Threshold


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
