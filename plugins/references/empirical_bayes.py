"""The denoiser that memorizes its training images."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import DataError, Reference, Shape, TrainingData, Truth, image_shape
from gahbench.jacobian import LinearMaps

from .._papers import KADKHODAIE_2024
from ..datasets.finite import empirical_bayes, empirical_filters


class EmpiricalBayes(Reference):
    """The denoiser of least expected squared error if the training images were all there is: it memorizes them.

    The result is sum_i w_i x_i, w = softmax(-|y - x_i|^2 / 2 sigma^2), over the training images x_i: the minimizer of
    the training loss among all functions, which networks with few training images approach (Kadkhodaie 2024, section
    2). On the dataset ``finite`` of the same images it is the optimum; on others it cannot generalize. Its Jacobian is
    exact: the posterior covariance over sigma^2 (equation 9).

    It may be fitted to any :class:`gahbench.TrainingData`, such as the very images that a network was trained on, and
    then computes in float64 and in pieces of 64 MiB. Without noise the images are returned as they are.

    Parameters
    ----------
    images
        Most training images to memorize.
    """

    citation = KADKHODAIE_2024
    fits_training_subset = True

    def __init__(self, images: Annotated[int, Field(ge=1)] = 4096) -> None:
        self.images = images
        self.device = torch.device("cpu")
        self._members: Tensor | None = None

    def fit(self, examples: TrainingData) -> None:
        """Keep the training images.

        Raises
        ------
        DataError
            If there are none.
        """
        self._members = examples.training(self.images).to(self.device)

    def move(self, device: torch.device) -> None:
        """Compute on a device."""
        self.device = device
        if self._members is not None:
            self._members = self._members.to(device)

    @property
    def notes(self) -> tuple[str, ...]:
        """The number of images it memorized."""
        if self._members is None:
            return ()
        count = len(self._members)
        return (f"memorized {count} training image{'s' * (count > 1)}",)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W), where the noisy ones are.

        Raises
        ------
        DataError
            If it was not fitted, or to images of another shape.
        """
        members = self._fitted(image_shape(noisy))
        return noisy if sigma == 0 else self._means(members, noisy, sigma)

    def denoise_each(self, noisy: Tensor, sigmas: Tensor, truth: Truth) -> Tensor:
        """Return the denoised images, each of its own noise level, all at once."""
        if not (sigmas > 0).all():
            return super().denoise_each(noisy, sigmas, truth)
        return self._means(self._fitted(image_shape(noisy)), noisy, sigmas.to(self.device))

    def _means(self, members: Tensor, noisy: Tensor, sigma: float | Tensor) -> Tensor:
        found = empirical_bayes(members.flatten(1), noisy.to(self.device).flatten(1), sigma).mean
        return found.view_as(noisy).to(noisy)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the posterior covariances over sigma^2, float64; ``None`` without noise."""
        members = self._fitted(image_shape(noisy))
        return empirical_filters(members, noisy.to(self.device), sigma) if sigma > 0 else None

    def _fitted(self, shape: Shape) -> Tensor:
        if self._members is None:
            raise DataError("empirical-bayes is made of training images: call fit(examples) first")
        if image_shape(self._members) != shape:
            raise DataError(
                f"empirical-bayes was fitted to images of shape {image_shape(self._members)} and cannot denoise images "
                f"of shape {shape}"
            )
        return self._members
