"""Clean images behind noisy images, and images that a reference or a basis may learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from gahbench._util.errors import DataError
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset, Split

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Truth:
    """The clean images behind noisy images, and their origin.

    Parameters
    ----------
    clean
        The clean images, shape (N, C, H, W).
    dataset
        The dataset of the images.
    split
        The split of the images.
    start
        Index of the first image in the split.

    Examples
    --------
    >>> import torch
    >>> truth = Truth(torch.zeros(5, 1, 8, 8))
    >>> [(len(part), part.start) for part in truth.batches(2)]
    [(2, 0), (2, 2), (1, 4)]
    """

    clean: Tensor
    dataset: Dataset | None = None
    split: Split = "test"
    start: int = 0

    def __len__(self) -> int:
        return len(self.clean)

    def double(self) -> Truth:
        """Return the truth with its clean images in float64."""
        return replace(self, clean=self.clean.double())

    def batches(self, size: int) -> Iterator[Truth]:
        """Yield the truth of at most ``size`` images at a time.

        Yields
        ------
        Truth
            The truth of the next images, in order.
        """
        for first in range(0, len(self), size):
            yield replace(self, clean=self.clean[first : first + size], start=self.start + first)


TrainingSplit = Literal["train", "A", "B"]
#: The seed of noise for learning; noise for scores has the suite's `noise_seed`.
_NOISE_SEED = "examples"


class TrainingData:
    """Training and validation images of a dataset, without access to its test images.

    Parameters
    ----------
    dataset
        The dataset.
    split
        The split of the training images: ``train``, or one of its halves.
    count
        Use only the first ``count`` training images; ``None`` for all images of the split.

    Examples
    --------
    >>> import gahbench
    >>> data = gahbench.TrainingData(gahbench.create("dataset", "discs", size=8), count=10)
    >>> data.training(100).shape, data.validation(4).shape
    (torch.Size([10, 1, 8, 8]), torch.Size([4, 1, 8, 8]))
    """

    def __init__(self, dataset: Dataset, split: TrainingSplit = "train", count: int | None = None) -> None:
        self._shape = dataset.shape
        name = type(dataset).__name__

        def available(which: Split) -> int | None:
            size = dataset.available(which)
            limit = count if which == split else None
            return min((number for number in (size, limit) if number is not None), default=None)

        def images(which: Split, max_images: int) -> Tensor:
            size = available(which)
            number = max_images if size is None else min(max_images, size)
            if number == 0:
                raise DataError(f"{name}: no {which} images to learn from; at least 1 is needed")
            return dataset.images(which, number)

        self._split = split
        self._count = available(split)

        # This is a closure so that plugins that receive this object have no attribute that is the dataset.
        self._images = images

    @property
    def split(self) -> TrainingSplit:
        """The split of the training images."""
        return self._split

    @property
    def count(self) -> int | None:
        """The number of training images; ``None`` for an endless stream."""
        return self._count

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of an image."""
        return self._shape

    def training(self, max_images: int) -> Tensor:
        """Return the first ``max_images`` training images, or all if there are fewer: shape (N, C, H, W).

        Raises
        ------
        DataError
            If there are no such images.
        """
        return self._images(self._split, max_images)

    def validation(self, max_images: int) -> Tensor:
        """Return the first ``max_images`` validation images, or all if there are fewer: shape (N, C, H, W).

        Raises
        ------
        DataError
            If there are no such images.
        """
        return self._images("validation", max_images)

    def noise(self, count: int, sigma: float) -> Tensor:
        """Return noise of standard deviation ``sigma``, shape (count, C, H, W), the same at every call."""
        from gahbench._util.noise import evaluation_noise

        return evaluation_noise(count, self.shape, sigma, _NOISE_SEED)
