"""An elongated Gaussian blur that follows contours."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench_plugins.references.gaussian_blur import GaussianBlur
from gahbench_plugins.references.tuned import Tuned, iterate_displacements, pad_by_reflection

#: Standard deviation in pixels of the blur before gradients are taken, and of the blur of the structure tensor.
PRESMOOTHING = 1.0
INTEGRATION = 1.5
#: Constant that keeps the derivative of a square root finite on constant images.
TINY = 1e-12


class Anisotropic(Tuned):
    """Gaussian blur whose long axis follows contours, estimated by the structure tensor (Weickert 1998).

    The kernel at each pixel is a Gaussian with standard deviation ``width`` along the long axis and s along the short
    axis, sampled on the pixels and scaled to a sum of 1. The long axis has a given angle to the contour, whose
    direction is the eigenvector of the structure tensor with the smaller eigenvalue. The structure tensor consists of
    products of derivatives of the noisy image; the image is blurred by 1 pixel before, and the products are blurred by
    1.5 pixels. As in edge-enhancing diffusion, the kernel is narrower where a contour is stronger: s^2 = width^2 (1 -
    (1 - ratio^2) d^2 / (d^2 + n^2)), with d the difference of the eigenvalues, and n the variance of a derivative of
    the noise. So the kernel is isotropic where no contour exceeds the noise.

    Channels share the kernels, and boundaries are reflecting. With a ``ratio`` of 1 the filter is a Gaussian blur. Its
    Jacobian includes the derivative of the kernels.

    Parameters
    ----------
    width
        Standard deviation of the Gaussian along its long axis, in pixels; ``null`` to tune it at each noise level.
    ratio
        Smallest standard deviation along the short axis, as a fraction of ``width``, in (0, 1].
    angle
        Angle between the long axis and the contour, in degrees: 0 is along contours, 90 across.
    distance
        Largest displacement along rows and along columns, in pixels.
    images
        Largest number of validation images for tuning.
    """

    display_name = "anisotropic blur"
    citation = "weickert-1998"
    tuned_parameter = "width"
    limits = (0.1, 100.0)
    label_parameters = ("angle",)

    def __init__(
        self,
        width: Annotated[float, Field(gt=0)] | None = None,
        ratio: Annotated[float, Field(gt=0, le=1)] = 1 / 3,
        angle: Annotated[float, Field(ge=-180, le=180)] = 0.0,
        distance: Annotated[int, Field(ge=1)] = 4,
        images: Annotated[int, Field(ge=1)] = 16,
    ) -> None:
        super().__init__(width, images)
        self.ratio = ratio
        self.angle = angle
        self.distance = distance

    def filter_images(self, noisy: Tensor, sigma: float, value: float) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        cosine, sine, strength = self._contours(noisy, sigma)
        decrease = (1 - self.ratio**2) * strength
        # The precision is 1 / value^2 along the long axis, and larger by twice the excess along the short axis.
        excess = decrease / (1 - decrease) / (2 * value**2)
        mean = excess + value**-2
        total, weights = torch.zeros_like(noisy), torch.zeros_like(cosine)
        for down, right, neighbours in iterate_displacements(noisy, self.distance):
            # Positive for displacements across the long axis, along which the weights fall faster.
            oriented = (right**2 - down**2) * cosine + 2 * right * down * sine
            weight = torch.exp(-((down**2 + right**2) * mean + excess * oriented) / 2)
            total = total + weight * neighbours
            weights = weights + weight
        return total / weights

    def guess(self, sigma: float) -> float:
        """Return 1.5 pixels."""
        return 1.5

    def _contours(self, noisy: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return cosine and sine of twice the angle of the short axis, and the strength of contours, (N, 1, H, W)."""
        blur = GaussianBlur()
        padded = pad_by_reflection(blur.filter_images(noisy, sigma, PRESMOOTHING), 1)
        right = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
        down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
        difference = blur.filter_images((right.square() - down.square()).sum(1, keepdim=True), sigma, INTEGRATION)
        product = blur.filter_images((2 * right * down).sum(1, keepdim=True), sigma, INTEGRATION)
        noise = noisy.shape[1] * sigma**2 / (8 * math.pi * PRESMOOTHING**4)
        # Divide by the noise first, since fourth powers of derivatives underflow in float32.
        difference, product = difference / noise, product / noise
        squared = difference.square() + product.square()
        norm = (squared + TINY).sqrt()
        cosine, sine = difference / norm, product / norm
        turn = 2 * math.radians(self.angle)
        return (
            cosine * math.cos(turn) - sine * math.sin(turn),
            cosine * math.sin(turn) + sine * math.cos(turn),
            squared / (squared + 1),
        )
