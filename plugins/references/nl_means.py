"""Non-local means."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gahbench_plugins.references.tuned import Tuned, pad_by_reflection


class NonLocalMeans(Tuned):
    """Non-local means (Buades, Coll & Morel 2005): each pixel is an average of pixels with similar patches.

    The weight of a pixel is exp(-max(D^2 - 2 sigma^2, 0) / h^2), where D^2 is the unweighted mean squared difference of
    the patches centred on the two pixels. The channels of colour images share their weights. Boundaries are reflecting.
    All pixels are processed at once for each displacement between the patches (Darbon et al. 2008).

    Parameters
    ----------
    h
        Scale of the weights, in units of grey values; ``null`` to tune it at each noise level.
    patch
        Side of a patch in pixels, odd.
    distance
        Largest displacement between patches, in pixels, along rows and along columns.
    images
        Largest number of validation images for tuning.

    Raises
    ------
    ValueError
        If the side of a patch is even.
    """

    display_name = "non-local means"
    citation = "buades-2005"
    tuned_parameter = "h"
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
            raise ValueError(f"patch={patch}; accepted: odd sides, 1, 3, 5, ...")
        self.patch = patch
        self.distance = distance

    def filter_images(self, noisy: Tensor, sigma: float, value: float) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        reach, half = self.distance, self.patch // 2
        height, width = noisy.shape[-2:]
        margin = reach + half
        padded = pad_by_reflection(noisy, margin)
        # Pixels with the margin that their patches need; each displacement compares them with a shifted window.
        centre = padded[..., reach : height + reach + 2 * half, reach : width + reach + 2 * half]
        total, weights = torch.zeros_like(noisy), noisy.new_zeros(len(noisy), 1, height, width)
        for down in range(2 * reach + 1):
            for across in range(2 * reach + 1):
                shifted = padded[..., down : down + height + 2 * half, across : across + width + 2 * half]
                squares = (centre - shifted).square_()
                if squares.shape[1] > 1:
                    squares = squares.mean(1, keepdim=True)
                weight = functional.avg_pool2d(squares, self.patch, stride=1)
                weight.sub_(2 * sigma**2).clamp_(min=0).mul_(-1 / value**2).exp_()
                total.addcmul_(weight, shifted[..., half : half + height, half : half + width])
                weights.add_(weight)
        return total / weights

    def guess(self, sigma: float) -> float:
        """Return 0.8 sigma."""
        return 0.8 * sigma
