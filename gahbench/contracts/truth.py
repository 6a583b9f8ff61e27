"""The clean images behind noisy images, and the images that a reference or a basis may learn from."""

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
    split, start
        Their position in the dataset: images ``start`` to ``start + N`` of a split.
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
            Of the next images, in their order.
        """
        for first in range(0, len(self), size):
            yield replace(self, clean=self.clean[first : first + size], start=self.start + first)


TrainingSplit = Literal["train", "A", "B"]
#: The seed of noise for learning; that of scores is the suite's `noise_seed`.
_NOISE = "examples"


class TrainingData:
    """Training and validation images of a dataset; its test images are out of reach.

    Parameters
    ----------
    dataset
        The dataset.
    split
        The split of the training images: ``train``, or one of its halves.
    count
        The maximum of training images, the first ones; ``None`` for all of the split.
    """

    def __init__(self, dataset: Dataset, split: TrainingSplit = "train", count: int | None = None) -> None:
        self._shape = dataset.shape
        name = type(dataset).__name__

        def available(which: Split) -> int | None:
            held = dataset.available(which)
            limit = count if which == split else None
            return min((number for number in (held, limit) if number is not None), default=None)

        def images(which: Split, max_images: int) -> Tensor:
            held = available(which)
            found = max_images if held is None else min(max_images, held)
            if found == 0:
                raise DataError(f"{name}: no {which} images to learn from; at least 1 is needed")
            return dataset.images(which, found)

        self._split = split
        self._count = available(split)

        # A closure, so that plugins that receive this object do not hold a dataset.
        self._images = images

    @property
    def split(self) -> TrainingSplit:
        """The split that training images are from."""
        return self._split

    @property
    def count(self) -> int | None:
        """The number of training images; ``None`` for an endless stream."""
        return self._count

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of one image."""
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
        """Return noise of standard deviation ``sigma`` for ``count`` images, always the same: (count, C, H, W)."""
        from gahbench._util.noise import evaluation_noise

        return evaluation_noise(count, self.shape, sigma, _NOISE)
