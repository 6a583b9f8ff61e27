"""The training images, weighted at each pixel by the region that the best linear denoiser looks at there."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import DataError, Shape, TrainingData, image_shape
from gahbench.jacobian import DenseMaps

from .._papers import LUKOIANOV_2025
from ..bases._matrices import check_values
from ..datasets.gaussian_faces import Fit, principal_components
from ._training_memory import TrainingMemory
from ._window_sums import pixel_means

#: Diagonals of the Wiener filter that count as 0: their rows are not divided.
NOTHING = 1e-6


class PCALocality(TrainingMemory):
    """The analytical denoiser of Lukoianov et al., NeurIPS 2025 (arXiv 2509.09672): locality from data statistics.

    Of the Wiener filter W = K (K + sigma^2)^-1, K the unbiased covariance of the training images, each row is divided
    by its diagonal value. Value q of an image looks at the values r where |W_rq / W_rr| is at least ``threshold`` times
    the largest of all; M_rq is 1 there, else 0. The result is sum_i w_i(q) x_i(q), w(q) = softmax(-sum_r M_rq (y(r) -
    x_i(r))^2 / 2 sigma^2) over the training images x_i: that of ``local-score`` without equivariance, with patches of a
    shape that data and noise level decide. Where all is looked at it is ``empirical-bayes``.

    The published code takes the softmax within each batch of training images, and then the mean over batches, the last
    of which may be smaller: its result depends on the batch. That is ``batch``, 256 or 512 there; ``null``, the
    default, is the softmax over all images. Published thresholds are 0.02 (CelebA), 0.05 (CIFAR-10) and 0.005
    (MNIST); a threshold of 0 there leaves the rows as weights, which may be negative, and is not offered.

    The Jacobian is exact: M_rq / sigma^2 times the covariance of the images' values at q and r under w(q); it is not
    symmetric. Without noise the images are returned as they are.

    Parameters
    ----------
    threshold
        Share of the largest value of the rows from which on a value is looked at.
    batch
        Training images in a softmax of the published code; ``null`` for all in one.
    images
        Most training images to learn from.
    """

    citation = LUKOIANOV_2025

    def __init__(
        self,
        threshold: Annotated[float, Field(gt=0, le=1)] = 0.02,
        batch: Annotated[int, Field(ge=1)] | None = None,
        images: Annotated[int, Field(ge=2)] = 4096,
    ) -> None:
        super().__init__(images)
        self.threshold = threshold
        self.batch = batch
        self._statistics: Fit | None = None
        self._masks: dict[float, Tensor] = {}

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) of more than 4096 values, whose covariance is too large."""
        check_values(shape, "pca-locality needs the covariance")

    def fit(self, examples: TrainingData) -> None:
        """Keep the training images, and find their covariance."""
        super().fit(examples)
        training = self.fitted(examples.shape)
        if len(training) < 2:
            raise DataError("pca-locality needs the covariance of training images: at least 2 of them, not 1")
        self._statistics = principal_components(training.flatten(1).cpu())
        self._masks.clear()

    def means(self, training: Tensor, noisy: Tensor, sigma: float) -> Tensor:
        """Return the training images averaged at each value by its own weights, shape (N, C, H, W)."""
        mask = self.mask(sigma)

        def logarithms(squares: Tensor) -> Tensor:
            return (squares.flatten(1) @ mask.to(squares)).view_as(squares) / (-2 * sigma**2)

        batches = self._batches(training)
        means = [pixel_means(some, noisy, logarithms) for some in batches]
        return torch.stack(means).sum(0) / len(batches)

    def derivatives(self, training: Tensor, noisy: Tensor, sigma: float) -> DenseMaps:
        """Return the covariances of the values that look at each other, over sigma^2."""
        training = training.double()
        mask = self.mask(sigma).to(training)
        batches = [some.flatten(1) for some in self._batches(training)]

        def derivative(image: Tensor) -> Tensor:
            total = torch.zeros_like(mask)
            for some in batches:
                weights = torch.softmax((some - image).square() @ mask / (-2 * sigma**2), dim=0)
                total += (weights * (some - (weights * some).sum(0))).mT @ some
            return total * mask.mT / (sigma**2 * len(batches))

        images = noisy.to(training).flatten(1)
        return DenseMaps(torch.stack([derivative(image) for image in images]), image_shape(noisy))

    def mask(self, sigma: float) -> Tensor:
        """Return M at a noise level > 0, shape (d, d), float32: column q is 1 at the values that q looks at."""
        assert self._statistics is not None
        assert self._training is not None
        if sigma not in self._masks:
            _, variances, components = self._statistics
            # Over n - 1, as in the published code.
            count = len(self._training)
            variances = variances * (count / (count - 1))
            wiener = (components * (variances / (variances + sigma**2))) @ components.mT
            diagonal = wiener.diagonal()
            rows = (wiener / torch.where(diagonal.abs() < NOTHING, 1.0, diagonal)[:, None]).abs()
            self._masks = {sigma: (rows >= self.threshold * rows.amax()).float().to(self.device)}
        return self._masks[sigma]

    def _batches(self, training: Tensor) -> tuple[Tensor, ...]:
        return torch.split(training, self.batch or len(training))
