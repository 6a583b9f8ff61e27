"""Near duplicates, and splits of images into training, validation and test sets."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gahbench import DataError, Split, generator

from .cache import Progress

#: Mean-removed correlation above which an image is a near duplicate (Kadkhodaie 2024).
THRESHOLD = 0.95
#: Number of new images, and of earlier images, that are compared at a time.
CHUNK = 1024
SPAN = 8192
#: Correlations closer to the threshold are computed again in double precision, so that all machines agree.
DOUBTFUL = 1e-5


def distinct_indices(pooled: Tensor, name: str = "images") -> Tensor:
    """Return the indices of images without near duplicates: the first image of each group.

    An image is removed if its mean-removed correlation with an earlier image that is kept is above 0.95. A constant
    image has no correlation, and is kept. The cost is N^2 P multiply-adds for pooled images of shape (N, P), mostly in
    matrix products.
    """
    progress = Progress(f"searching for near duplicates in {name}", len(pooled))
    # The indices of kept images, and the kept images in the first rows.
    indices: list[Tensor] = []
    kept = torch.empty_like(pooled)
    count = 0
    for first in range(0, len(pooled), CHUNK):
        chunk = _normalise(pooled[first : first + CHUNK])
        repeats = torch.zeros(len(chunk), dtype=torch.bool)
        for start in range(0, count, SPAN):
            repeats |= _above(chunk, kept[start : min(start + SPAN, count)]).any(1)
        within_chunk = _above(chunk, chunk).tril(-1)
        # Keep the order, since an image is compared only with earlier images that are kept.
        for index in within_chunk.any(1).nonzero().flatten().tolist():
            repeats[index] |= (within_chunk[index] & ~repeats).any()
        new = (~repeats).nonzero().flatten()
        kept[count : count + len(new)] = chunk[new]
        count += len(new)
        indices.append(first + new)
        progress(first + len(chunk))
    return torch.cat(indices) if indices else torch.empty(0, dtype=torch.long)


#: Neighbours are similar if sufficiently many have a higher correlation than 95 % of random pairs: at least this
#: fraction of all neighbours, and at least this many standard deviations more than the 5 % expected by chance.
SIMILAR_SHARE, SIMILAR_DEVIATIONS = 0.15, 4.0
#: Number of random pairs of images.
PAIRS = 1 << 14


def similar_neighbours(pooled: Tensor) -> tuple[float, float] | None:
    """Return the median correlation of neighbours and of random pairs; ``None`` if neighbours are not similar."""
    count = len(pooled) - 1
    if count < 2:
        return None
    images = _normalise(pooled)
    neighbours = (images[:-1] * images[1:]).sum(1)
    draw = generator("data", "neighbours")
    first = torch.randint(len(images), (PAIRS,), generator=draw)
    second = (first + torch.randint(1, len(images), (PAIRS,), generator=draw)) % len(images)
    pairs = (images[first] * images[second]).sum(1)
    above = int((neighbours > pairs.quantile(0.95)).sum())
    expected, deviation = 0.05 * count, (0.05 * 0.95 * count) ** 0.5
    if above < max(SIMILAR_SHARE * count, expected + SIMILAR_DEVIATIONS * deviation):
        return None
    return float(neighbours.median()), float(pairs.median())


def order_notes(correlations: tuple[float, float] | None) -> tuple[str, ...]:
    """Return a note on splits that follow an order in which neighbours are similar."""
    if correlations is None:
        return ()
    return (
        "its splits follow the order of the files, and neighbours look alike (median correlation "
        f"{correlations[0]:.2f}, and {correlations[1]:.2f} for random pairs), as frames of a video do: test images may "
        "show other scenes than training images, or nearly the same at the borders; split=random has every scene in "
        "all splits",
    )


def _normalise(images: Tensor) -> Tensor:
    """Remove the mean of each image and scale it to norm 1; constant images become 0."""
    centred = images.double() - images.double().mean(1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    return torch.where(norms > 1e-6, centred / norms.clamp_min(1e-6), 0.0).to(images.dtype)


def _above(left: Tensor, right: Tensor) -> Tensor:
    correlations = left @ right.mT
    above = correlations > THRESHOLD
    rows, columns = ((correlations - THRESHOLD).abs() < DOUBTFUL).nonzero(as_tuple=True)
    above[rows, columns] = (left[rows].double() * right[columns].double()).sum(1) > THRESHOLD
    return above


#: Default fraction of test images, and their maximum number.
TEST_SHARE = 0.24
TEST_MAX = 1024

Indices = NDArray[np.int64]
SplitRule = Literal["consecutive", "random"]


def reorder(indices: Indices, rule: SplitRule, seed: int) -> Indices:
    """Return indices, shape (N,), in the order in which they are split: unchanged, or shuffled by a seed."""
    if rule == "consecutive":
        return indices
    order: Indices = torch.randperm(len(indices), generator=generator("data", seed, "split")).numpy()
    return indices[order]


def consecutive(indices: Indices, test: int | None, where: str) -> dict[Split, Indices]:
    """Divide indices, in order, into training, validation and test images."""
    total = len(indices)
    count = max(1, min(round(TEST_SHARE * total), TEST_MAX)) if test is None else test
    validation = count // 2
    if count + validation > total:
        raise DataError(
            f"{where}: test={count} and {validation} validation images out of {total}; "
            f"accepted: test up to {(2 * total + 1) // 3}"
        )
    train = total - count - validation
    return {"train": indices[:train], "validation": indices[train : total - count], "test": indices[total - count :]}


def published_splits(indices: Indices, partition: Indices) -> dict[Split, Indices]:
    """Divide images by a published partition of all images into 0 (training), 1 (validation) and 2 (testing)."""
    names: tuple[Split, ...] = ("train", "validation", "test")
    return {name: indices[partition[indices] == number] for number, name in enumerate(names)}


def halves(train: Indices, identity: Indices | None, seed: int) -> dict[Split, Indices]:
    """Divide the training images into two random halves; if people are known, no person is in both."""
    draw = generator("data", seed, "halves")
    order = train[torch.randperm(len(train), generator=draw).numpy()]
    if identity is None:
        middle = (len(order) + 1) // 2
        return {"A": order[:middle], "B": order[middle:]}
    people, member, counts = np.unique(identity[order], return_inverse=True, return_counts=True)
    queue = torch.randperm(len(people), generator=draw).numpy()
    before = np.cumsum(counts[queue]) - counts[queue]
    in_a = np.zeros(len(people), dtype=bool)
    # A has the people whose images are mostly in the first half of the queue.
    in_a[queue] = 2 * before + counts[queue] <= len(order)
    return {"A": order[in_a[member]], "B": order[~in_a[member]]}
