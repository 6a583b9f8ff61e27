"""The best linear denoiser of the training images."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor

from gahbench import DataError, Reference, Shape, TrainingData, Truth
from gahbench_plugins.datasets.gaussian_faces import Fit, principal_components

#: Largest number of values of an image, whose covariance takes 128 MiB.
MAX_VALUES = 4096


class WienerLinear(Reference):
    """Affine denoiser with the smallest expected squared error on the training images (Wiener 1949).

    The denoised image is m + K (K + sigma^2)^-1 (y - m), with the mean m and the covariance K of the training images
    over all pixels and channels. It is the posterior mean for a Gaussian with this mean and covariance, whose score is
    (f(y) - y) / sigma^2. Since the denoiser is affine, its expected error on an image is exact: bias^2 + variance. If
    there are fewer training images than values, components outside the span of the training images are replaced by the
    components of the mean for all sigma > 0. If sigma is 0 the images are returned unchanged.

    Parameters
    ----------
    images
        Largest number of training images.
    """

    display_name = "linear Wiener filter"
    citation = "wiener-1949"
    fits_training_subset = True

    def __init__(self, images: Annotated[int, Field(ge=2)] = 4096) -> None:
        self.images = images
        self._fit: Fit | None = None
        self._count = 0

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for image shapes (C, H, W) of more than 4096 values, whose covariance is too large."""
        if math.prod(shape) > MAX_VALUES:
            raise ValueError(f"wiener-linear accepts images of up to {MAX_VALUES} values (64x64 grey), not {shape}")

    def fit(self, examples: TrainingData) -> None:
        """Compute the mean, variances and principal components of the training images."""
        self.check_shape(examples.shape)
        images = examples.training(self.images)
        self._count = len(images)
        self._fit = principal_components(images.flatten(1))

    @property
    def notes(self) -> tuple[str, ...]:
        """The number of training images."""
        return (f"learned from {self._count} training images",) if self._count else ()

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        if sigma == 0:
            return noisy
        fit = self._require_fit(noisy)
        mean, components = fit.mean.to(noisy), fit.components.to(noisy)
        weights = (fit.variances / (fit.variances + sigma**2)).to(noisy)
        return (mean + ((noisy.flatten(1) - mean) @ components * weights) @ components.mT).view_as(noisy)

    def risk(self, truth: Truth, sigma: float) -> Tensor:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64."""
        clean = truth.clean.double()
        if sigma == 0:
            return clean.new_zeros(len(clean))
        variances = self._require_fit(clean).variances
        weights = variances / (variances + sigma**2)
        bias = (self.denoise(clean, sigma, truth) - clean).square().flatten(1).mean(1)
        return bias + sigma**2 * float(weights.square().sum()) / clean[0].numel()

    def _require_fit(self, images: Tensor) -> Fit:
        if self._fit is None:
            raise DataError("wiener-linear needs training images: call fit(examples) first")
        if len(self._fit.mean) != math.prod(images.shape[1:]):
            raise DataError(
                f"wiener-linear was fitted to images of {len(self._fit.mean)} values and cannot denoise images of "
                f"{math.prod(images.shape[1:])}"
            )
        return self._fit
