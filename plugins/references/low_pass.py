"""An ideal low-pass filter."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Reference, Truth, image_shape
from gahbench_plugins.bases.dct import DCT, frequency_order


class LowPass(Reference):
    """Ideal low-pass filter: keeps the DCT coefficients of lowest frequency, and sets all other coefficients to 0.

    The filter is the same projection for all images, so its alignment with image-adaptive filters is 0.

    Parameters
    ----------
    share
        Fraction of the frequencies that are kept, in (0, 1].
    """

    display_name = "low-pass filter"
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
        bias = (DCT().analysis(clean) * (1 - mask)).square().flatten(1).mean(1)
        return bias + sigma**2 * mask.mean()

    def _mask(self, images: Tensor) -> Tensor:
        """Return a mask of the DCT coefficients, shape (H, W): 1 at the frequencies that are kept."""
        _, height, width = image_shape(images)
        mask = torch.zeros(height * width, dtype=torch.float64)
        mask[frequency_order(height, width)[: max(1, round(self.share * height * width))]] = 1
        return mask.reshape(height, width).to(images)
