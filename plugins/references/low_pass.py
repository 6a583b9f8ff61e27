"""The same low-pass filter for all images."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Reference, Truth, image_shape

from ..bases.dct import DCT, frequency_order


class LowPass(Reference):
    """Keeps the cosines of lowest frequency and removes the others, whatever the image.

    A projection, the same for all images: its filter adapts to nothing, so that every alignment with what is adapted
    is 0.

    Parameters
    ----------
    share
        Share of the frequencies that are kept, of those up to the highest along either axis.
    """

    label_parameters = ("share",)

    def __init__(self, share: Annotated[float, Field(gt=0, le=1)] = 0.1) -> None:
        self.share = share

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the noisy images without their high frequencies, shape (N, C, H, W)."""
        basis = DCT()
        return basis.synthesis(basis.analysis(noisy) * self._mask(noisy))

    def risk(self, truth: Truth, sigma: float) -> Tensor:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64: bias^2 + variance."""
        clean = truth.clean.double()
        mask = self._mask(clean)
        lost = (DCT().analysis(clean) * (1 - mask)).square().flatten(1).mean(1)
        return lost + sigma**2 * mask.mean()

    def _mask(self, like: Tensor) -> Tensor:
        """Return 1 for the frequencies that are kept and 0 for the others, shape (H, W)."""
        _, height, width = image_shape(like)
        mask = torch.zeros(height * width, dtype=torch.float64)
        mask[frequency_order(height, width)[: max(1, round(self.share * height * width))]] = 1
        return mask.reshape(height, width).to(like)
