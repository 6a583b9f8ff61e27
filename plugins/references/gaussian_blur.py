"""Filters that multiply the cosines of an image: Gaussian blur, the simplest denoiser, and an ideal low-pass filter."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Reference, Truth, image_shape
from gahbench_plugins.bases.dct import DCT, frequency_order
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

    def filter_images(self, noisy: Tensor, sigma: float, value: float) -> Tensor:
        """Return the blurred images, shape (N, C, H, W)."""
        return DCT().synthesis(DCT().analysis(noisy) * _multipliers(noisy, value))

    def guess(self, sigma: float) -> float:
        """Return a width of one pixel."""
        return 1.0

    def risk(self, truth: Truth, sigma: float) -> Tensor:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64."""
        clean = truth.clean.double()
        return (
            clean.new_zeros(len(clean)) if sigma == 0 else _risk(clean, _multipliers(clean, self.value(sigma)), sigma)
        )


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
        return DCT().synthesis(DCT().analysis(noisy) * self._mask(noisy))

    def risk(self, truth: Truth, sigma: float) -> Tensor:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64: bias^2 + variance."""
        clean = truth.clean.double()
        return _risk(clean, self._mask(clean), sigma)

    def _mask(self, images: Tensor) -> Tensor:
        """Return a mask of the DCT coefficients, shape (H, W): 1 at the frequencies that are kept."""
        _, height, width = image_shape(images)
        mask = torch.zeros(height * width, dtype=torch.float64)
        mask[frequency_order(height, width)[: max(1, round(self.share * height * width))]] = 1
        return mask.reshape(height, width).to(images)


def _risk(clean: Tensor, multipliers: Tensor, sigma: float) -> Tensor:
    """Return bias^2 + variance per pixel of each image, given the multipliers of the DCT coefficients, shape (H, W)."""
    bias = ((1 - multipliers) * DCT().analysis(clean)).square().flatten(1).mean(1)
    return bias + sigma**2 * multipliers.square().mean()


def _multipliers(images: Tensor, width: float) -> Tensor:
    """Return the multipliers of the DCT coefficients, shape (H, W)."""

    def along(size: int) -> Tensor:
        frequencies = math.pi / size * torch.arange(size, dtype=torch.float64)
        return torch.exp(-((width * frequencies) ** 2) / 2)

    height, width_of_image = images.shape[-2:]
    return (along(height)[:, None] * along(width_of_image)).to(images)
