"""A dataset of given images, for tests of learning from them."""

from __future__ import annotations

from torch import Tensor

from gahbench.contracts.datasets import Dataset


class GivenImages(Dataset):
    """A dataset that returns the same images, shape (N, C, H, W), for every split, and refuses the test split."""

    def __init__(self, images: Tensor) -> None:
        self._images = images
        self.requested_splits: list[str] = []

    @property
    def shape(self):
        return tuple(self._images.shape[1:])

    def images(self, split, count, start=0):
        assert split in ("train", "A", "B", "validation")
        self.requested_splits.append(split)
        return self._images[start : start + count]

    def available(self, split):
        return len(self._images)
