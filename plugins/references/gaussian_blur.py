"""Gaussian blur, the simplest denoiser."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Truth
from gahbench_plugins.bases.dct import DCT
from gahbench_plugins.references.tuned import Tuned


class GaussianBlur(Tuned):
    """Convolution with a Gaussian, with reflecting boundaries.

    The filter multiplies DCT coefficients by exp(-w^2 |f|^2 / 2), with the width w in pixels and the frequency f = pi
    (k / H, l / W). This factor is the transfer function of the Gaussian, and the heat flow of the image after time
    w^2 / 2. The filter is linear, so its expected squared error is exact: bias^2 + sigma^2 times the sum of squares of
    the multipliers.

    Parameters
    ----------
    width
        Standard deviation of the Gaussian in pixels; ``null`` to tune it at each noise level.
    images
        Largest number of validation images for tuning.
    """

    display_name = "Gaussian blur"
    tuned_parameter = "width"
    limits = (0.01, 1000.0)

    def __init__(
        self, width: Annotated[float, Field(gt=0)] | None = None, images: Annotated[int, Field(ge=1)] = 16
    ) -> None:
        super().__init__(width, images)
        self._dct = DCT()

    def filter_images(self, noisy: Tensor, sigma: float, value: float) -> Tensor:
        """Return the blurred images, shape (N, C, H, W)."""
        return self._dct.synthesis(self._dct.analysis(noisy) * _multipliers(noisy, value))

    def guess(self, sigma: float) -> float:
        """Return a width of one pixel."""
        return 1.0

    def risk(self, truth: Truth, sigma: float) -> Tensor:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64."""
        clean = truth.clean.double()
        if sigma == 0:
            return clean.new_zeros(len(clean))
        multipliers = _multipliers(clean, self.value(sigma))
        bias = ((1 - multipliers) * self._dct.analysis(clean)).square().flatten(1).mean(1)
        return bias + sigma**2 * multipliers.square().mean()


def _multipliers(images: Tensor, width: float) -> Tensor:
    """Return the multipliers of the DCT coefficients, shape (H, W)."""

    def along(size: int) -> Tensor:
        frequencies = math.pi / size * torch.arange(size, dtype=torch.float64)
        return torch.exp(-((width * frequencies) ** 2) / 2)

    height, width_of_image = images.shape[-2:]
    return (along(height)[:, None] * along(width_of_image)).to(images)
