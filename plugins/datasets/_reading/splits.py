"""Near repeats, and which images are for training, validation and testing."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gahbench import DataError, Split, generator

from .cache import Progress

#: Mean-removed correlation above which an image is a near repeat (Kadkhodaie 2024).
THRESHOLD = 0.95
#: Images compared at a time, and with how many.
CHUNK = 1024
SPAN = 8192
#: Correlations this close to the threshold are computed again in double precision, so that all machines agree.
DOUBTFUL = 1e-5


def without_repeats(pooled: Tensor, what: str = "images") -> Tensor:
    """Return which images to keep so that no two of them are near repeats: of each group the first.

    An image goes if its mean-removed correlation with an earlier one that stays is above 0.95. A constant image has
    no correlation, and stays. The cost is N^2 P multiply-adds, most of it in matrix products.
    """
    progress = Progress(f"looking for near repeats in {what}", len(pooled))
    # The places that stay so far, and their images, in the first rows.
    stay: list[Tensor] = []
    staying = torch.empty_like(pooled)
    count = 0
    for first in range(0, len(pooled), CHUNK):
        chunk = _normalised(pooled[first : first + CHUNK])
        repeats = torch.zeros(len(chunk), dtype=torch.bool)
        for start in range(0, count, SPAN):
            repeats |= _above(chunk, staying[start : min(start + SPAN, count)]).any(1)
        among = _above(chunk, chunk).tril(-1)
        # Images with none earlier to repeat need no closer look.
        for place in among.any(1).nonzero().flatten().tolist():
            repeats[place] |= (among[place] & ~repeats).any()
        new = (~repeats).nonzero().flatten()
        staying[count : count + len(new)] = chunk[new]
        count += len(new)
        stay.append(first + new)
        progress(first + len(chunk))
    return torch.cat(stay) if stay else torch.empty(0, dtype=torch.long)


#: Neighbours look alike if at least this share of them are more alike than 19 of 20 pairs of images; by chance a
#: twentieth would be, give or take a few standard deviations.
ALIKE_SHARE, ALIKE_DEVIATIONS = 0.15, 4.0
#: Pairs of images that neighbours are compared with.
PAIRS = 1 << 14


def alike_neighbours(pooled: Tensor) -> tuple[float, float] | None:
    """Return the median correlation of neighbours and of any two images, if neighbours look alike; else ``None``."""
    count = len(pooled) - 1
    if count < 2:
        return None
    images = _normalised(pooled)
    neighbours = (images[:-1] * images[1:]).sum(1)
    draw = generator("data", "neighbours")
    first = torch.randint(len(images), (PAIRS,), generator=draw)
    second = (first + torch.randint(1, len(images), (PAIRS,), generator=draw)) % len(images)
    pairs = (images[first] * images[second]).sum(1)
    above = int((neighbours > pairs.quantile(0.95)).sum())
    expected, deviation = 0.05 * count, (0.05 * 0.95 * count) ** 0.5
    if above < max(ALIKE_SHARE * count, expected + ALIKE_DEVIATIONS * deviation):
        return None
    return float(neighbours.median()), float(pairs.median())


def order_notes(alike: tuple[float, float] | None) -> tuple[str, ...]:
    """Return what to say where splits follow an order in which neighbours look alike."""
    if alike is None:
        return ()
    return (
        f"its splits follow the order of the files, and neighbours look alike (median correlation {alike[0]:.2f}; of "
        f"any two images {alike[1]:.2f}), as frames of a video do: test images may show other scenes than training "
        "images, or at the borders nearly the same; split=random has every scene in all splits",
    )


def _normalised(images: Tensor) -> Tensor:
    """Remove the mean of each image and scale it to norm 1; constant ones become 0."""
    centred = images.double() - images.double().mean(1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    return torch.where(norms > 1e-6, centred / norms.clamp_min(1e-6), 0.0).to(images.dtype)


def _above(left: Tensor, right: Tensor) -> Tensor:
    correlations = left @ right.mT
    above = correlations > THRESHOLD
    rows, columns = ((correlations - THRESHOLD).abs() < DOUBTFUL).nonzero(as_tuple=True)
    above[rows, columns] = (left[rows].double() * right[columns].double()).sum(1) > THRESHOLD
    return above


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
