"""Posterior means over stored training images: their base class, and the posterior mean of whole images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from gahbench import DataError, Reference, Shape, TrainingData, Truth, get_spec, image_shape
from gahbench.jacobian import LinearMaps
from gahbench_plugins.datasets.finite import empirical_bayes, empirical_filters
from gahbench_plugins.references.tuned import count_images


class TrainingMemory(Reference):
    """A reference that computes posterior means over stored training images, on the device of the reference.

    A subclass implements :meth:`means`.

    Parameters
    ----------
    images
        Largest number of training images.
    """

    fits_training_subset = True
    #: Verb of the note on the training images, which is followed by their number.
    verb: ClassVar[str] = "learned from"

    def __init__(self, images: Annotated[int, Field(ge=1)] = 4096) -> None:
        self.images = images
        self.device = torch.device("cpu")
        self._training: Tensor | None = None

    def fit(self, examples: TrainingData) -> None:
        """Keep the training images."""
        self.check_shape(examples.shape)
        self._training = examples.training(self.images).to(self.device)

    def move(self, device: torch.device) -> None:
        """Compute on the given device from now on."""
        self.device = device
        if self._training is not None:
            self._training = self._training.to(device)

    @property
    def notes(self) -> tuple[str, ...]:
        """The number of training images."""
        return () if self._training is None else (f"{self.verb} {count_images(len(self._training), 'training')}",)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W), on the device of the noisy images."""
        training = self.fitted(image_shape(noisy))
        return noisy if sigma == 0 else self.means(training, noisy.to(self.device), sigma).to(noisy.device)

    @abstractmethod
    def means(self, training: Tensor, noisy: Tensor, sigma: float) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); ``sigma`` is greater than 0."""

    def fitted(self, shape: Shape) -> Tensor:
        """Return the training images, or raise ``DataError`` if they are not of the shape (C, H, W)."""
        name = get_spec(self) or type(self).__name__
        if self._training is None:
            raise DataError(f"{name} needs training images: call fit(examples) first")
        if image_shape(self._training) != shape:
            raise DataError(
                f"{name} was fitted to images of shape {image_shape(self._training)} and cannot denoise images of "
                f"shape {shape}"
            )
        return self._training


class EmpiricalBayes(TrainingMemory):
    """Posterior mean under the empirical distribution of the training images: a denoiser that memorizes them.

    The denoised image is sum_i w_i x_i with w = softmax(-|y - x_i|^2 / 2 sigma^2), over the training images x_i. It
    minimises the training loss over all functions, and networks with few training images approach it (Kadkhodaie 2024,
    section 2). On the dataset ``finite`` of the same images it is optimal; on other datasets it cannot generalize. Its
    Jacobian is exact: the posterior covariance over sigma^2 (equation 9).

    It can be fitted to any :class:`gahbench.TrainingData`, such as the images that a network was trained on. It
    computes in float64, in chunks of 64 MiB. If sigma is 0 the images are returned unchanged.

    Parameters
    ----------
    images
        Largest number of training images to memorize.
    """

    display_name = "empirical Bayes"
    citation = "kadkhodaie-2024"
    verb = "memorized"

    def as_network(self, shape: Shape) -> nn.Module:
        """Return the posterior means as a network, for noise levels greater than 0."""
        return _Means(self)

    def means(self, training: Tensor, noisy: Tensor, sigma: float | Tensor) -> Tensor:
        """Return the posterior means, shape (N, C, H, W)."""
        return empirical_bayes(training.flatten(1), noisy.flatten(1), sigma).mean.view_as(noisy).to(noisy)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the posterior covariances over sigma^2, float64; ``None`` if ``sigma`` is 0."""
        training = self.fitted(image_shape(noisy))
        return None if sigma == 0 else empirical_filters(training, noisy.to(self.device), sigma)


class _Means(nn.Module):
    def __init__(self, reference: EmpiricalBayes) -> None:
        super().__init__()
        self.reference = reference

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        return self.reference.means(self.reference.fitted(image_shape(noisy)), noisy, sigma)


def pixel_means(training: Tensor, noisy: Tensor, log_weights: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the averages of the training images at each pixel, with separate weights for each pixel.

    Parameters
    ----------
    training
        Shape (M, C, H, W).
    noisy
        Shape (N, C, H, W).
    log_weights
        Returns the logarithms of the weights, broadcastable to (M, C, H, W), given the squared differences of a noisy
        image and the training images.
    """
    averages = []
    for image in noisy.to(torch.promote_types(training.dtype, noisy.dtype)):
        weights = torch.softmax(log_weights((training - image).square()), 0)
        averages.append((weights * training).sum(0))
    return torch.stack(averages).to(noisy.dtype)
