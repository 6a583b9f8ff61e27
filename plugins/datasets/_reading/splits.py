"""Which images are for training, validation and testing, and the halves A and B of those for training."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from gahbench import DataError, Split, generator

# The share of all images that is for testing by default, and its maximum.
TEST_SHARE = 0.24
TEST_MAX = 1024

Places = NDArray[np.int64]
SplitRule = Literal["consecutive", "random"]


def ordered(places: Places, rule: SplitRule, seed: int) -> Places:
    """Return places, shape (N,), in the order in which they are split: as they are, or at random by a seed."""
    if rule == "consecutive":
        return places
    order: Places = torch.randperm(len(places), generator=generator("data", seed, "split")).numpy()
    return places[order]


def consecutive(places: Places, test: int | None, where: str) -> dict[Split, Places]:
    """Cut images into first training, then validation, last test ones."""
    total = len(places)
    count = max(1, min(round(TEST_SHARE * total), TEST_MAX)) if test is None else test
    validation = count // 2
    if count + validation > total:
        raise DataError(
            f"{where}: test={count} and {validation} validation images out of {total}; "
            f"accepted: test up to {(2 * total + 1) // 3}"
        )
    train = total - count - validation
    return {"train": places[:train], "validation": places[train : total - count], "test": places[total - count :]}


def published(places: Places, partition: Places) -> dict[Split, Places]:
    """Sort images by the number that a published partition, over all images, gives them: 0, 1 and 2."""
    names: tuple[Split, ...] = ("train", "validation", "test")
    return {name: places[partition[places] == number] for number, name in enumerate(names)}


def halves(train: Places, identity: Places | None, seed: int) -> dict[Split, Places]:
    """Cut the training images in two at random, so that no person is in both halves where people are known."""
    draw = generator("data", seed, "halves")
    order = train[torch.randperm(len(train), generator=draw).numpy()]
    if identity is None:
        middle = (len(order) + 1) // 2
        return {"A": order[:middle], "B": order[middle:]}
    people, member, counts = np.unique(identity[order], return_inverse=True, return_counts=True)
    queue = torch.randperm(len(people), generator=draw).numpy()
    before = np.cumsum(counts[queue]) - counts[queue]
    in_a = np.zeros(len(people), dtype=bool)
    # In A are the people whose images lie mostly in the first half of the queue.
    in_a[queue] = 2 * before + counts[queue] <= len(order)
    return {"A": order[in_a[member]], "B": order[~in_a[member]]}
