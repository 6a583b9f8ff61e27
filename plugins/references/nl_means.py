"""Non-local means."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from skimage.restoration import denoise_nl_means
from torch import Tensor

from gahbench.contracts import Shape

from .tuned import Tuned


class NonLocalMeans(Tuned):
    """Non-local means (Buades, Coll & Morel 2005): every pixel becomes an average of those whose patches look alike.

    A pixel weighs exp(-max(D^2 - 2 sigma^2, 0) / h^2), D^2 the mean squared difference of the two patches, by the fast
    algorithm of scikit-image, which weighs all pixels of a patch alike (Darbon et al. 2008). The channels of colour
    images share their weights.

    Parameters
    ----------
    h
        Scale of the weights, in units of the grey scale; if not given, the best at each noise level.
    patch
        Side of a patch in pixels, odd.
    distance
        Greatest distance in rows and in columns, in pixels, at which patches are looked for.
    images
        Most validation images to tune on.

    Raises
    ------
    ValueError
        If the side of a patch is even.
    """

    number = "h"
    limits = (1e-6, 1e3)

    def __init__(
        self,
        h: Annotated[float, Field(gt=0)] | None = None,
        patch: Annotated[int, Field(ge=1)] = 5,
        distance: Annotated[int, Field(ge=1)] = 6,
        images: Annotated[int, Field(ge=1)] = 16,
    ) -> None:
        super().__init__(h, images)
        if patch % 2 == 0:
            raise ValueError(f"patch={patch}: accepted are odd sides, 1, 3, 5, ...")
        self.patch = patch
        self.distance = distance

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) smaller than a patch."""
        if min(shape[1:]) < self.patch:
            raise ValueError(f"nl-means needs image sides of at least patch={self.patch}, not {shape[1]}x{shape[2]}")

    def filtered(self, noisy: Tensor, sigma: float, value: float) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        # Channels last: it drops the axis of a single channel, and then would swap the sides of images.
        last = noisy.movedim(1, -1)
        found = [
            denoise_nl_means(
                image,
                patch_size=self.patch,
                patch_distance=self.distance,
                h=value,
                fast_mode=True,
                sigma=sigma,
                channel_axis=-1,
            )
            for image in last.cpu().numpy()
        ]
        images = torch.stack([torch.from_numpy(image) for image in found]).reshape(last.shape)
        return images.movedim(-1, 1).contiguous().to(noisy)

    def guess(self, sigma: float) -> float:
        """Return four fifths of sigma, within the limits."""
        return min(max(0.8 * sigma, self.limits[0]), self.limits[1])
