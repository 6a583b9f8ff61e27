"""The images of another dataset, divided into halves as in the code of Kadkhodaie et al. 2024."""

from __future__ import annotations

import functools
from typing import Annotated

import torch
from torch import Tensor

from gahbench import DataError, Dataset, Names, Split
from gahbench_plugins.datasets import reading
from gahbench_plugins.datasets.generated import Derived

#: The splits of the dataset in the order of its files.
ORDER: tuple[Split, ...] = ("train", "validation", "test")


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
    test images before any other result. If you have the published list, ``images[path=list.npy]`` reads it.

    Parameters
    ----------
    dataset
        The images, finitely many, such as ``faces[path=celeba]``.
    """

    display_name = "{dataset} in published halves"
    citation = "kadkhodaie-2024"
    label_parameters = ("dataset",)
    # Large numbers of images of half B reach the test images.
    splits_overlap = True
    recipe = "halves from both ends of the list of images"

    def __init__(self, dataset: Annotated[Dataset, Names("dataset", default="faces")]) -> None:
        self.dataset = dataset

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
        return len(self._places[split])

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images ``start`` to ``start + count`` of a split, shape (count, C, H, W), float32."""
        reading.check_count(str(self.recipe), split, start + count, self.available(split))
        places = self._places[split][start : start + count]
        result = torch.empty(count, *self.shape)
        for number, name in enumerate(ORDER):
            here = places[:, 0] == number
            if here.any():
                indices = places[here, 1]
                first = int(indices.min())
                result[here] = self.dataset.images(name, int(indices.max()) - first + 1, first)[indices - first]
        return result

    @functools.cached_property
    def _places(self) -> dict[Split, Tensor]:
        """The number of its split in ``ORDER``, and the index in it, of each image of each split, shape (N, 2)."""
        sizes = []
        for name in ORDER:
            size = self.dataset.available(name)
            if size is None:
                raise DataError(
                    f"the {name} split of {type(self.dataset).__name__} is endless; accepted: datasets of finitely "
                    "many images, such as faces"
                )
            sizes.append(size)
        everything = torch.tensor([(number, index) for number, size in enumerate(sizes) for index in range(size)])
        total, half = len(everything), len(everything) // 2
        # Test and validation images may not reach beyond half B.
        test_stop = min(half + sizes[2], total - 1)
        stop = min(test_stop + sizes[1], total)
        return {
            "A": everything[:half],
            "B": everything[total - half :].flip(0),
            "test": everything[half:test_stop],
            "validation": everything[test_stop:stop],
            "train": torch.cat([everything[:half], everything[stop:]]),
        }
