"""Nearest neighbours in large sets of images, by Euclidean distance or cosine, and cosines of pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: Working memory of a search in bytes, besides the images and the results.
MEMORY = 1 << 28
#: Number of additional candidates whose distances are recomputed accurately, because rounding may change their order.
EXTRA_CANDIDATES = 4


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest of M images for each of N queries, nearest first.

    Parameters
    ----------
    indices
        Indices of the images, from 0 to M - 1, shape (N, k).
    values
        Distances in ascending order, or cosines in descending order, shape (N, k), float64.
    """

    indices: Tensor
    values: Tensor


def nearest(queries: Tensor, images: Tensor, count: int = 1, memory: int = MEMORY) -> Neighbours:
    """Return the images with the smallest Euclidean distances |q - x| to each query, in the units of the images.

    Candidates are found by matrix products in float64. Their distances are then recomputed from differences, so that
    even the distance to a near copy has a small relative error.

    Parameters
    ----------
    queries
        Shape (N, ...).
    images
        Shape (M, ...), on any device; they are moved to the device of the queries in parts.
    count
        Number of neighbours for each query, at most M.
    memory
        Approximate working memory in bytes; one query and 100 images are always processed together.

    Returns
    -------
    Neighbours
        Indices and distances, on the device of the queries.

    Raises
    ------
    ValueError
        If there are no images, ``count`` is less than 1, or the shapes differ.

    Examples
    --------
    >>> import torch
    >>> images = torch.arange(4.0).reshape(4, 1, 1, 1)
    >>> neighbours = nearest(torch.full((1, 1, 1, 1), 2.25), images, count=2)
    >>> neighbours.indices.tolist(), neighbours.values.tolist()
    ([[2, 3]], [[0.25, 0.75]])
    """
    _check(queries, images, count)
    # Distances do not depend on the origin, but rounding does.
    origin = images[:1].flatten(1).to(queries.device, torch.float64)

    def similarity(queries: Tensor, images: Tensor) -> Tensor:
        queries, images = queries.flatten(1).double() - origin, images.flatten(1).double() - origin
        return torch.addmm(images.square().sum(1) / -2, queries, images.mT)

    approximate = _search(queries, images, count + EXTRA_CANDIDATES, memory, similarity)
    candidates = approximate.indices
    distances = torch.empty_like(approximate.values)
    step = max(1, memory // (32 * _size(queries) * candidates.shape[1]))
    for start in range(0, len(queries), step):
        chosen = images[candidates[start : start + step].to(images.device)].to(queries.device, torch.float64)
        part = queries[start : start + step, None].double()
        distances[start : start + step] = (part - chosen).flatten(2).norm(dim=2)
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
    """Return the images with the largest cosines with each query; see :func:`unit_vectors`.

    Parameters
    ----------
    queries
        Shape (N, ...).
    images
        Shape (M, ...), on any device.
    count
        Number of neighbours for each query, at most M.
    centred
        Whether to subtract the mean of each image.
    origin
        An image to subtract first, shape (...), such as the mean training image.
    memory
        Approximate working memory in bytes.

    Returns
    -------
    Neighbours
        Indices and cosines in [-1, 1], on the device of the queries.

    Raises
    ------
    ValueError
        If there are no images, ``count`` is less than 1, or the shapes differ.

    Examples
    --------
    >>> import torch
    >>> images = torch.eye(4).reshape(4, 1, 2, 2)
    >>> nearest_by_cosine(3 * images[2:], images).indices.tolist()
    [[2], [3]]
    """
    _check(queries, images, count)

    def similarity(queries: Tensor, images: Tensor) -> Tensor:
        return unit_vectors(queries, centred, origin) @ unit_vectors(images, centred, origin).mT

    neighbours = _search(queries, images, count, memory, similarity)
    return Neighbours(neighbours.indices, neighbours.values.clamp(-1, 1))


def unit_vectors(images: Tensor, centred: bool = True, origin: Tensor | None = None) -> Tensor:
    """Return images as unit vectors in float64, shape (N, d), whose products are cosines; constant images become 0."""
    vectors = images.flatten(1).double()
    if origin is not None:
        vectors = vectors - origin.flatten().to(vectors)
    scale = vectors.abs().amax(1, keepdim=True)
    if centred:
        vectors = vectors - vectors.mean(1, keepdim=True)
    lengths = vectors.norm(dim=1, keepdim=True)
    # A constant image minus its mean is only rounding error.
    is_flat = lengths <= 1e-12 * math.sqrt(vectors.shape[1]) * scale
    return torch.where(is_flat, 0.0, vectors / lengths.where(~is_flat, 1.0))


def pair_cosines(first: Tensor, second: Tensor, centred: bool = True, origin: Tensor | None = None) -> Tensor:
    """Return the cosine of each image of one series with the image of the same index in another series.

    If two networks were trained on disjoint sets of images and learned the same density, samples that they draw from
    the same noise have cosines near 1 (Kadkhodaie 2024, figure 2). The subtracted mean determines which images are
    similar: if no mean is subtracted, all bright images are similar; if each image's own mean is subtracted
    (``centred``), all faces are similar; if the mean training image is subtracted (``origin``), only images with the
    same details are similar.

    Parameters
    ----------
    first, second
        Shape (N, ...).
    centred
        Whether to subtract the mean of each image, over pixels and channels.
    origin
        An image to subtract first, shape (...), such as the mean training image.

    Returns
    -------
    Tensor
        Cosines, shape (N,), float64, in [-1, 1]; 0 if an image is constant.

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
    """Return the images with the largest similarities, computed part by part to bound the memory."""
    count = min(count, len(images))
    size = _size(queries)
    # Each part has three float64 copies of its images; its products are sorted together with their indices.
    rows = max(1, min(len(queries), memory // (96 * size)))
    columns = max(100, memory // (2 * (32 * size + 40 * rows)))
    parts = []
    for chunk in torch.split(queries, rows):
        values = torch.empty(len(chunk), 0, dtype=torch.float64, device=queries.device)
        indices = torch.empty(len(chunk), 0, dtype=torch.long, device=queries.device)
        for start in range(0, len(images), columns):
            similarities = similarity(chunk, images[start : start + columns].to(queries.device))
            best, positions = similarities.topk(min(count, similarities.shape[1]), dim=1)
            values, indices = torch.cat([values, best], 1), torch.cat([indices, positions + start], 1)
            values, order = values.topk(min(count, values.shape[1]), dim=1)
            indices = indices.gather(1, order)
        parts.append((indices, values))
    return Neighbours(torch.cat([indices for indices, _ in parts]), torch.cat([values for _, values in parts]))


def _size(images: Tensor) -> int:
    return math.prod(images.shape[1:])


def _check(queries: Tensor, images: Tensor, count: int) -> None:
    if count < 1:
        raise ValueError(f"count={count}; accepted: 1, 2, ...")
    if not len(images):
        raise ValueError("no images to search in; at least 1 is needed")
    if queries.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"queries of shape {tuple(queries.shape)} and images of shape {tuple(images.shape)} do not match: "
            "expected (N, ...) and (M, ...)"
        )
