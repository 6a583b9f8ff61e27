"""What a reference or a basis may learn from: images of a dataset, never those that it is scored on."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from gahbench.contracts import Dataset, Shape
from gahbench.errors import DataError
from gahbench.noise import evaluation_noise

#: What noise for learning is seeded by; the noise of scores is named by the suite's own number.
_NOISE = "examples"


class Examples:
    """Training and validation images of a dataset; its test images are out of reach.

    Parameters
    ----------
    dataset
        Where they are from.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._shape = dataset.shape
        name = type(dataset).__name__

        def images(split: Literal["train", "validation"], most: int) -> Tensor:
            available = dataset.available(split)
            count = most if available is None else min(most, available)
            if count == 0:
                raise DataError(f"{name}: no {split} images to learn from; at least 1 is needed")
            return dataset.images(split, count)

        # What it is given to, which may be anyone's plugin, holds no dataset.
        self._images = images

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of one image."""
        return self._shape

    def training(self, most: int) -> Tensor:
        """Return the first ``most`` training images, or all if there are fewer: shape (N, C, H, W).

        Raises
        ------
        DataError
            If there are none.
        """
        return self._images("train", most)

    def validation(self, most: int) -> Tensor:
        """Return the first ``most`` validation images, or all if there are fewer: shape (N, C, H, W).

        Raises
        ------
        DataError
            If there are none.
        """
        return self._images("validation", most)

    def noise(self, count: int, sigma: float) -> Tensor:
        """Return noise of standard deviation ``sigma`` for ``count`` images, always the same: (count, C, H, W)."""
        return evaluation_noise(count, self.shape, sigma, _NOISE)
