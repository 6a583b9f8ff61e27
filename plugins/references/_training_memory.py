"""References that keep training images and compare noisy images with them."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench import DataError, Reference, Shape, TrainingData, image_shape

from .._messages import name_of


class TrainingMemory(Reference):
    """A reference that is made of training images; computed where it is moved to."""

    fits_training_subset = True

    def __init__(self, images: int) -> None:
        self.images = images
        self.device = torch.device("cpu")
        self._training: Tensor | None = None

    def fit(self, examples: TrainingData) -> None:
        """Keep the training images."""
        self.check_shape(examples.shape)
        self._training = examples.training(self.images).to(self.device)

    def move(self, device: torch.device) -> None:
        """Compute on a device."""
        self.device = device
        if self._training is not None:
            self._training = self._training.to(device)

    @property
    def notes(self) -> tuple[str, ...]:
        """From how many images it was learned."""
        if self._training is None:
            return ()
        count = len(self._training)
        return (f"learned from {count} training image{'s' * (count > 1)}",)

    def fitted(self, shape: Shape) -> Tensor:
        """Return the training images, for images of a shape (C, H, W)."""
        if self._training is None:
            raise self.unfitted()
        if image_shape(self._training) != shape:
            raise DataError(
                f"{name_of(self)} was fitted to images of shape {image_shape(self._training)} and cannot denoise "
                f"images of shape {shape}"
            )
        return self._training

    def unfitted(self) -> DataError:
        """Return the error that there are no training images yet."""
        return DataError(f"{name_of(self)} is made of training images: call fit(examples) first")
