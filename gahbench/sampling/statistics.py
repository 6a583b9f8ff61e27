"""Nearest neighbours of samples, and cosines of pairs of images.

All functions take images on any device, in any units that samples and real images share, and compute in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

#: Number of values of images, or of distances, that are in memory at a time, besides the images and the results.
VALUES = 1 << 23


class Neighbours(NamedTuple):
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


def nearest(queries: Tensor, images: Tensor, count: int = 1) -> Neighbours:
    """Return the images with the smallest Euclidean distances |q - x| to each query, in the units of the images.

    Distances are computed from differences, so that even the distance to a near copy has a small relative error.

    Parameters
    ----------
    queries
        Shape (N, ...).
    images
        Shape (M, ...), on any device; they are moved to the device of the queries in parts.
    count
        Number of neighbours for each query, at most M.

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
    vectors = queries.flatten(1).double()
    return _search(
        queries,
        images,
        count,
        lambda part: torch.cdist(vectors, part.flatten(1).double(), compute_mode="donot_use_mm_for_euclid_dist"),
    )


def nearest_by_cosine(
    queries: Tensor, images: Tensor, count: int = 1, centred: bool = True, origin: Tensor | None = None
) -> Neighbours:
    """Return the images with the largest cosines with each query; see :func:`pair_cosines`.

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
    vectors = _unit_vectors(queries, centred, origin)
    found = _search(queries, images, count, lambda part: -vectors @ _unit_vectors(part, centred, origin).mT)
    return Neighbours(found.indices, -found.values.clamp(-1, 1))


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
    return (_unit_vectors(first, centred, origin) * _unit_vectors(second, centred, origin)).sum(1).clamp(-1, 1)


def nearest_is_own(samples: Tensor, own: Tensor, other: Tensor, affine: bool = False) -> Tensor:
    """Return, for each sample, whether its nearest image is a training image of its denoiser.

    The training images and the other images should be sets of equal size without a common image. If samples do not
    depend on which of the two sets was used for training, the average over both choices is 1/2, whatever the sets are.

    Parameters
    ----------
    samples
        Shape (N, ...).
    own
        Training images of the denoiser, shape (M, ...).
    other
        Other images, shape (M, ...).
    affine
        Whether to compare images up to brightness and contrast, by the cosine after removing the mean of each image. A
        bias-free network is homogeneous, f(cy) = c f(y), and memorizes images up to brightness and contrast only.

    Returns
    -------
    Tensor
        1 if the nearest image is in ``own``, 0 if it is in ``other``, 1/2 for equal distances; shape (N,), float64.

    Examples
    --------
    >>> import torch
    >>> images = torch.arange(4.0).reshape(4, 1, 1, 1)
    >>> nearest_is_own(torch.tensor([0.1, 2.9, 1.5]).reshape(3, 1, 1, 1), images[:2], images[2:]).tolist()
    [1.0, 0.0, 0.5]
    """
    if affine:
        distances = [-nearest_by_cosine(samples, images).values[:, 0] for images in (own, other)]
    else:
        distances = [nearest(samples, images).values[:, 0] for images in (own, other)]
    return ((distances[1] - distances[0]).sign() + 1) / 2


def remove_shared(own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return two sets of images truncated to equal size, without the images that are in both.

    Parameters
    ----------
    own
        Shape (M, ...).
    other
        Shape (N, ...).

    Examples
    --------
    >>> import torch
    >>> images = torch.arange(4.0).reshape(4, 1, 1, 1)
    >>> [kept.flatten().tolist() for kept in remove_shared(images[:3], images[2:])]
    [[0.0], [3.0]]
    """
    _, group = torch.unique(torch.cat([own, other]).flatten(1), dim=0, return_inverse=True)
    own_groups, other_groups = group.split([len(own), len(other)])
    own, other = own[~torch.isin(own_groups, other_groups)], other[~torch.isin(other_groups, own_groups)]
    count = min(len(own), len(other))
    return own[:count], other[:count]


def _unit_vectors(images: Tensor, centred: bool, origin: Tensor | None) -> Tensor:
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


def _search(queries: Tensor, images: Tensor, count: int, distances: Callable[[Tensor], Tensor]) -> Neighbours:
    """Return the images with the smallest distances, which are computed part by part to bound the memory."""
    if count < 1:
        raise ValueError(f"count={count}; accepted: 1, 2, ...")
    if not len(images):
        raise ValueError("no images to search in; at least 1 is needed")
    if queries.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"queries of shape {tuple(queries.shape)} and images of shape {tuple(images.shape)} do not match: "
            "expected (N, ...) and (M, ...)"
        )
    size, parts = max(1, VALUES // max(images[0].numel(), len(queries))), []
    for start in range(0, len(images), size):
        part = distances(images[start : start + size].to(queries.device))
        values, indices = part.topk(min(count, part.shape[1]), largest=False)
        parts.append((values, indices + start))
    values, indices = (torch.cat(columns, 1) for columns in zip(*parts, strict=True))
    values, order = values.topk(min(count, values.shape[1]), largest=False)
    return Neighbours(indices.gather(1, order), values)
