"""The images of another dataset, divided into halves as in the code of Kadkhodaie et al. 2024."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from gahbench import DataError, Dataset, Names, Split

from .._papers import KADKHODAIE_2024
from ._derived import Derived

#: Splits of the dataset in the order of its files.
_ORDER: tuple[Split, ...] = ("train", "validation", "test")


class PublishedHalves(Derived):
    """The images of another dataset, divided into halves as in the published code of Kadkhodaie et al. 2024.

    All images of the dataset are taken in the order training, validation, test, which is the order of the files if the
    dataset divides its files consecutively. A network of half A learns from the first N images, and its partner from
    the last N, which B lists from the last image backwards. N is at most half of the images (99,325 of CelebA). In the
    published code the test images of a network are at the other end: here they are the images of half B that are
    farthest from the end, as many as the dataset has. A partner of N images learned from some of them if N is larger
    than half of all images less the test and validation images.

    The published list of images is not public. It is in the order in which a folder listed its files, which depends on
    the computer. So with published weights, compare the errors of the networks of 1 and 10 images on training and on
    test images before any other result. If you have the published list, ``images: {path: list.pt}`` reads it.

    Parameters
    ----------
    dataset
        The images, finitely many, such as ``faces[source=celeba,path=celeba]``.
    """

    display_name = "{dataset} in published halves"
    citation = KADKHODAIE_2024
    label_parameters = ("dataset",)
    # Large numbers of images of half B reach the test images.
    splits_overlap = True

    def __init__(self, dataset: Annotated[Dataset, Names("dataset", default="faces")]) -> None:
        self.dataset = dataset

    @property
    def recipe(self) -> str:
        """How the images are divided, as text for the card."""
        return "halves from both ends of the list of images"

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the dataset, and the number of images from which partners learn from test images."""
        half = self.available("B")
        unseen = max(0, half - self.available("test") - self.available("validation"))
        return (
            *self.dataset.notes,
            f"halves A and B are the first and the last {half:,} images; networks that learned from more than "
            f"{unseen:,} images of B have seen test or validation images, as in the published code",
        )

    def available(self, split: Split) -> int:
        """Return the number of images of a split."""
        return sum(stop - first for first, stop in self._ranges[split])

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images ``start`` to ``start + count`` of a split, shape (count, C, H, W), float32."""
        size = self.available(split)
        if start + count > size:
            raise DataError(
                f"{start + count} {split} images requested, but the split holds {size}; ask for at most {size}"
            )
        if split == "B":
            return self._load(split, size - start - count, size - start).flip(0)
        return self._load(split, start, start + count)

    def _load(self, split: Split, start: int, stop: int) -> Tensor:
        """Return images of a split, in the order of the dataset."""
        ranges, parts = self._ranges[split], []
        for low, high in _overlaps(ranges, start, stop):
            before = 0
            for name in _ORDER:
                size = self._sizes[name]
                first, last = max(low, before), min(high, before + size)
                if first < last:
                    parts.append(self.dataset.images(name, last - first, first - before))
                before += size
        return torch.cat(parts) if parts else self.dataset.images("train", 0)

    @functools.cached_property
    def _sizes(self) -> dict[Split, int]:
        sizes: dict[Split, int] = {}
        for name in _ORDER:
            size = self.dataset.available(name)
            if size is None:
                raise DataError(
                    f"the {name} split of {type(self.dataset).__name__} is endless; accepted: datasets of finitely "
                    "many images, such as faces"
                )
            sizes[name] = size
        return sizes

    @functools.cached_property
    def _ranges(self) -> dict[Split, list[tuple[int, int]]]:
        """Ranges of the images of each split among all images; ``B`` lists them backwards."""
        total = sum(self._sizes.values())
        half, test = total // 2, self._sizes["test"]
        # Test and validation images may not reach beyond half B.
        test_stop = min(half + test, total - 1)
        stop = min(test_stop + self._sizes["validation"], total)
        return {
            "A": [(0, half)],
            "B": [(total - half, total)],
            "test": [(half, test_stop)],
            "validation": [(test_stop, stop)],
            "train": [(0, half), (stop, total)],
        }


def _overlaps(ranges: list[tuple[int, int]], start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of consecutive ranges between two positions, which are counted from the first range."""
    before = 0
    for first, last in ranges:
        low, high = max(start, before), min(stop, before + last - first)
        if low < high:
            yield first + low - before, first + high - before
        before += last - first
