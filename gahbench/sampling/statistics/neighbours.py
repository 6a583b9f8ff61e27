"""The images of a large set that are nearest to given ones, by distance or by angle, and the cosines of pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: Bytes that a search may take beyond the images and its results.
MEMORY = 1 << 28
#: Images beyond the requested ones whose distances are computed again, since rounding may have put them out of order.
SPARE = 4


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k of M images that are nearest to each of N, nearest first.

    Parameters
    ----------
    indices
        Which they are, from 0 to M - 1, shape (N, k).
    values
        Distances, ascending, or cosines, descending, shape (N, k), float64.
    """

    indices: Tensor
    values: Tensor


def nearest(queries: Tensor, images: Tensor, count: int = 1, memory: int = MEMORY) -> Neighbours:
    """Return the images at the least Euclidean distance |q - x|, in the units of the grey scale.

    All distances are found by products of matrices in float64, and those of the nearest once more from differences, so
    that even the distance to a copy is accurate: relative to itself, not to the length of the images.

    Parameters
    ----------
    queries
        Shape (N, ...).
    images
        Shape (M, ...), on any device: parts of them go to where the queries are.
    count
        How many for each query; no more than M are returned.
    memory
        Bytes of working memory, about; at least those of one query and a hundred images.

    Returns
    -------
    Neighbours
        On the device of the queries.

    Raises
    ------
    ValueError
        If there is no image, ``count`` is less than 1, or shapes differ.

    Examples
    --------
    >>> import torch
    >>> images = torch.arange(4.0).reshape(4, 1, 1, 1)
    >>> found = nearest(torch.full((1, 1, 1, 1), 2.25), images, count=2)
    >>> found.indices.tolist(), found.values.tolist()
    ([[2, 3]], [[0.25, 0.75]])
    """
    _check(queries, images, count)
    # Distances do not depend on the origin, but rounding does.
    origin = images[:1].flatten(1).to(queries.device, torch.float64)

    def similarity(some: Tensor, others: Tensor) -> Tensor:
        some, others = some.flatten(1).double() - origin, others.flatten(1).double() - origin
        return torch.addmm(others.square().sum(1) / -2, some, others.mT)

    found = _search(queries, images, count + SPARE, memory, similarity)
    candidates = found.indices
    distances = torch.empty_like(found.values)
    step = max(1, memory // (32 * _size(queries) * candidates.shape[1]))
    for start in range(0, len(queries), step):
        chosen = images[candidates[start : start + step].to(images.device)].to(queries.device, torch.float64)
        some = queries[start : start + step, None].double()
        distances[start : start + step] = (some - chosen).flatten(2).norm(dim=2)
    values, order = distances.sort(dim=1, stable=True)
    return Neighbours(candidates.gather(1, order)[:, :count], values[:, :count])


def nearest_by_cosine(
    queries: Tensor,
    images: Tensor,
    count: int = 1,
    centred: bool = True,
    origin: Tensor | None = None,
    memory: int = MEMORY,
) -> Neighbours:
    """Return the images of the greatest cosine with each query; see :func:`unit_vectors`.

    Parameters
    ----------
    queries
        Shape (N, ...).
    images
        Shape (M, ...), on any device.
    count
        How many for each query; no more than M are returned.
    centred, origin
        An image that is subtracted first.
    memory
        Bytes of working memory, about.

    Returns
    -------
    Neighbours
        Its values are cosines in [-1, 1]; on the device of the queries.

    Raises
    ------
    ValueError
        If there is no image, ``count`` is less than 1, or shapes differ.
    """
    _check(queries, images, count)

    def similarity(some: Tensor, others: Tensor) -> Tensor:
        return unit_vectors(some, centred, origin) @ unit_vectors(others, centred, origin).mT

    found = _search(queries, images, count, memory, similarity)
    return Neighbours(found.indices, found.values.clamp(-1, 1))


def unit_vectors(images: Tensor, centred: bool = True, origin: Tensor | None = None) -> Tensor:
    """Return images as vectors of length 1, whose products are cosines."""
    vectors = images.flatten(1).double()
    if origin is not None:
        vectors = vectors - origin.flatten().to(vectors)
    scale = vectors.abs().amax(1, keepdim=True)
    if centred:
        vectors = vectors - vectors.mean(1, keepdim=True)
    lengths = vectors.norm(dim=1, keepdim=True)
    # Rounding errors of a constant image are no direction.
    flat = lengths <= 1e-12 * math.sqrt(vectors.shape[1]) * scale
    return torch.where(flat, 0.0, vectors / lengths.where(~flat, 1.0))


def pair_cosines(first: Tensor, second: Tensor, centred: bool = True, origin: Tensor | None = None) -> Tensor:
    """Return the cosine of the i-th image of one series with the i-th of another.

    It is near 1 for samples that two networks drew from the same noise, after training on disjoint sets of images, if
    both learned the same density (Kadkhodaie 2024, figure 2). The removed mean decides which images count as alike:
    without any, all bright images do; without each image's own (``centred``), all faces do; without that of the
    training images (``origin``), the images differ in what is particular to each.

    Parameters
    ----------
    first, second
        Shape (N, ...).
    centred
        Whether each image's own mean, over pixels and channels, is subtracted.
    origin
        An image that is subtracted before, shape (...), such as the mean training image.

    Returns
    -------
    Tensor
        Shape (N,), float64, in [-1, 1]; 0 where an image is constant.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import torch
    >>> images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> pair_cosines(images, 2 * images + 1).round(decimals=6)
    tensor([1., 1., 1.], dtype=torch.float64)
    """
    if first.shape != second.shape:
        raise ValueError(f"pairs need the same shape: {tuple(first.shape)} is not {tuple(second.shape)}")
    return (unit_vectors(first, centred, origin) * unit_vectors(second, centred, origin)).sum(1).clamp(-1, 1)


def _search(
    queries: Tensor, images: Tensor, count: int, memory: int, similarity: Callable[[Tensor, Tensor], Tensor]
) -> Neighbours:
    """Return the images of the greatest similarity, part by part."""
    count = min(count, len(images))
    size = _size(queries)
    # Each part is held as it is, less its origin, and squared or divided; products are sorted, with their places.
    rows = max(1, min(len(queries), memory // (96 * size)))
    columns = max(100, memory // (2 * (32 * size + 40 * rows)))
    found = []
    for some in torch.split(queries, rows):
        values = torch.empty(len(some), 0, dtype=torch.float64, device=queries.device)
        indices = torch.empty(len(some), 0, dtype=torch.long, device=queries.device)
        for start in range(0, len(images), columns):
            part = similarity(some, images[start : start + columns].to(queries.device))
            best, places = part.topk(min(count, part.shape[1]), dim=1)
            values, indices = torch.cat([values, best], 1), torch.cat([indices, places + start], 1)
            values, order = values.topk(min(count, values.shape[1]), dim=1)
            indices = indices.gather(1, order)
        found.append((indices, values))
    return Neighbours(torch.cat([indices for indices, _ in found]), torch.cat([values for _, values in found]))


def _size(images: Tensor) -> int:
    return math.prod(images.shape[1:])


def _check(queries: Tensor, images: Tensor, count: int) -> None:
    if count < 1:
        raise ValueError(f"count={count}: accepted are 1, 2, ...")
    if not len(images):
        raise ValueError("no images to search in; at least 1 is needed")
    if queries.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"queries of shape {tuple(queries.shape)} and images of shape {tuple(images.shape)} are not alike: "
            "expected (N, ...) and (M, ...)"
        )
