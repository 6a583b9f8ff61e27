"""What a reference or a basis may learn from: images of a dataset, never those that it is scored on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from gahbench.contracts import Dataset, Shape
from gahbench.errors import DataError
from gahbench.noise import evaluation_noise

#: What noise for learning is seeded by; the noise of scores is named by the suite's own number.
_NOISE = "examples"


@dataclass(frozen=True, eq=False)
class Examples:
    """Training and validation images of a dataset.

    Parameters
    ----------
    dataset
        Where they are from; its test images are out of reach.
    """

    _dataset: Dataset

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of one image."""
        return self._dataset.shape

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

    def _images(self, split: Literal["train", "validation"], most: int) -> Tensor:
        available = self._dataset.available(split)
        count = most if available is None else min(most, available)
        if count == 0:
            raise DataError(f"{type(self._dataset).__name__}: no {split} images to learn from; at least 1 is needed")
        return self._dataset.images(split, count)
