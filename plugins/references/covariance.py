"""References that use the covariance of training images: the best linear denoiser, and masks from its filter."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import DataError, Shape, TrainingData, Truth, get_spec
from gahbench_plugins.datasets.gaussian import Fit, principal_components
from gahbench_plugins.references.training_memory import TrainingMemory, pixel_means

#: Largest number of values of an image, whose covariance takes 128 MiB.
MAX_VALUES = 4096
#: Rows of the Wiener filter with a smaller diagonal value are not divided by it.
MIN_DIAGONAL = 1e-6


class CovarianceMemory(TrainingMemory):
    """A reference that computes posterior means from stored training images and the ``statistics`` of them.

    Parameters
    ----------
    images
        Largest number of training images.
    """

    statistics: Fit
    _count = 0

    def __init__(self, images: Annotated[int, Field(ge=2)] = 4096) -> None:
        super().__init__(images)

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for image shapes (C, H, W) of more than 4096 values, whose covariance is too large."""
        if math.prod(shape) > MAX_VALUES:
            name = get_spec(self) or type(self).__name__
            raise ValueError(f"{name} accepts images of up to {MAX_VALUES} values (64x64 grey), not {shape}")

    def fit(self, examples: TrainingData) -> None:
        """Keep the training images, and compute their mean, variances and principal components."""
        super().fit(examples)
        training = self.fitted(examples.shape)
        self.statistics, self._count = principal_components(training.flatten(1).cpu()), len(training)


class WienerLinear(CovarianceMemory):
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

    def means(self, training: Tensor, noisy: Tensor, sigma: float) -> Tensor:
        """Return the posterior means, shape (N, C, H, W)."""
        mean, components = self.statistics.mean.to(noisy), self.statistics.components.to(noisy)
        weights = (self.statistics.variances / (self.statistics.variances + sigma**2)).to(noisy)
        return (mean + ((noisy.flatten(1) - mean) @ components * weights) @ components.mT).view_as(noisy)

    def risk(self, truth: Truth, sigma: float) -> Tensor:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64."""
        clean = truth.clean.double()
        if sigma == 0:
            return clean.new_zeros(len(clean))
        bias = (self.denoise(clean, sigma, truth) - clean).square().flatten(1).mean(1)
        weights = self.statistics.variances / (self.statistics.variances + sigma**2)
        return bias + sigma**2 * float(weights.square().sum()) / clean[0].numel()


class PCALocality(CovarianceMemory):
    """Analytical denoiser of Lukoianov et al., NeurIPS 2025 (arXiv 2509.09672), with locality from data statistics.

    Each row of the Wiener filter W = K (K + sigma^2)^-1 is divided by its diagonal value, where K is the unbiased
    covariance of the training images. Value q of an image depends on the values r at which |W_rq / W_rr| is at least
    ``threshold`` times the maximum over all entries; M_rq is 1 for these values and 0 elsewhere. The result is sum_i
    w_i(q) x_i(q) with w(q) = softmax(-sum_r M_rq (y(r) - x_i(r))^2 / 2 sigma^2) over the training images x_i. The
    denoiser is ``local-score`` without equivariance, with patches whose shape depends on the data and the noise level.
    If M is 1 everywhere, the denoiser is ``empirical-bayes``.

    The published code computes the softmax within batches of training images, and then the mean over batches, the last
    of which may be smaller, so its result depends on the batch size. ``batch`` reproduces this, with 256 or 512 in the
    publication; the default ``null`` is the softmax over all images. Published thresholds are 0.02 (CelebA), 0.05
    (CIFAR-10) and 0.005 (MNIST). A threshold of 0, which in the published code uses the rows as weights that may be
    negative, is not supported.

    The Jacobian is M_rq / sigma^2 times the covariance of the image values at q and r under w(q), which is not
    symmetric. If sigma is 0 the images are returned unchanged.

    Parameters
    ----------
    threshold
        Fraction of the largest normalised entry of the Wiener filter above which values are compared, in (0, 1].
    batch
        Number of training images per softmax, as in the published code; ``null`` for a softmax over all images.
    images
        Largest number of training images.
    """

    display_name = "PCA locality"
    citation = "lukoianov-2025"

    def __init__(
        self,
        threshold: Annotated[float, Field(gt=0, le=1)] = 0.02,
        batch: Annotated[int, Field(ge=1)] | None = None,
        images: Annotated[int, Field(ge=2)] = 4096,
    ) -> None:
        super().__init__(images)
        self.threshold = threshold
        self.batch = batch
        self._masks: dict[float, Tensor] = {}

    def fit(self, examples: TrainingData) -> None:
        """Keep the training images, and compute their covariance."""
        super().fit(examples)
        if self._count < 2:
            raise DataError("pca-locality needs the covariance of training images: got 1 image; accepted: at least 2")
        self._masks.clear()

    def means(self, training: Tensor, noisy: Tensor, sigma: float) -> Tensor:
        """Return the averages of the training images with separate weights at each value, shape (N, C, H, W)."""
        mask = self.mask(sigma)

        def log_weights(squares: Tensor) -> Tensor:
            return (squares.flatten(1) @ mask.to(squares)).view_as(squares) / (-2 * sigma**2)

        batches = torch.split(training, self.batch or len(training))
        means = [pixel_means(batch, noisy, log_weights) for batch in batches]
        return torch.stack(means).sum(0) / len(batches)

    def mask(self, sigma: float) -> Tensor:
        """Return M at a noise level > 0, shape (d, d), float32: column q is 1 at the values on which q depends."""
        if sigma not in self._masks:
            _, variances, components = self.statistics
            # The published code uses the unbiased covariance.
            variances = variances * (self._count / (self._count - 1))
            wiener = (components * (variances / (variances + sigma**2))) @ components.mT
            diagonal = wiener.diagonal()
            rows = (wiener / torch.where(diagonal.abs() < MIN_DIAGONAL, 1.0, diagonal)[:, None]).abs()
            self._masks = {sigma: (rows >= self.threshold * rows.amax()).float().to(self.device)}
        return self._masks[sigma]
