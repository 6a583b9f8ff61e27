"""Distances between samples and real images in the distribution of their patches."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gahbench._util.noise import generator

#: Maximum number of patches of each set; more patches hardly change the distance.
MAX_PATCHES = 1 << 15


def patch_distance(samples: Tensor, images: Tensor, side: int = 7, directions: int = 128, seed: int = 0) -> float:
    """Return the sliced Wasserstein distance between the mean-free patches of two sets of images.

    Patches are projected onto random directions. The distance is the root mean square difference of the quantiles of
    the two projected distributions over all directions (Rabin, Peyré, Delon & Bernot 2011; for patches of generated
    images see Karras et al. 2018). Directions are unit vectors of zero mean, so the distance between white noises of
    standard deviations a and b is |a - b|. Both sets contribute equally many patches at random positions, at most
    32,768.

    Parameters
    ----------
    samples
        Shape (N, C, H, W).
    images
        Shape (M, C, H, W).
    side
        Side of a patch in pixels, from 2 to the shorter side of the images.
    directions
        Number of random directions.
    seed
        Seed of the directions and of the positions of patches.

    Returns
    -------
    float
        Distance in the units of the images. Two halves of one set have a positive distance by chance, which falls with
        the square root of the number of images; use that distance as a baseline.

    Raises
    ------
    ValueError
        If there are no samples or images, their shapes differ, or ``side`` or ``directions`` is out of range.

    Examples
    --------
    >>> import torch
    >>> images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> patch_distance(images, images) < patch_distance(0.5 * images, images)
    True
    """
    if samples.shape[1:] != images.shape[1:] or not len(samples) or not len(images):
        raise ValueError(
            f"expected samples (N, C, H, W) and images (M, C, H, W) of one shape, not {tuple(samples.shape)} and "
            f"{tuple(images.shape)}"
        )
    if not 2 <= side <= min(images.shape[2:]):
        raise ValueError(f"side={side}; accepted: 2 to {min(images.shape[2:])}, the side of the images")
    if directions < 1:
        raise ValueError(f"directions={directions}; accepted: 1, 2, ...")
    positions = (images.shape[2] - side + 1) * (images.shape[3] - side + 1)
    count = min(MAX_PATCHES, positions * min(len(samples), len(images)))
    axes = torch.randn(
        images.shape[1] * side**2, directions, dtype=torch.float64, generator=generator("data", "directions", seed)
    )
    axes -= axes.mean(0)
    axes = (axes / axes.norm(dim=0)).to(samples.device)
    # Directions of zero mean ignore the mean of a patch.
    first = (_patches(samples, side, count, seed, 0) @ axes).sort(dim=0).values
    second = (_patches(images, side, count, seed, 1).to(samples.device) @ axes).sort(dim=0).values
    return float((first - second).square().mean().sqrt())


def _patches(images: Tensor, side: int, count: int, seed: int, set_index: int) -> Tensor:
    """Return patches at distinct random positions, shape (count, C * side * side), float64."""
    windows = images.unfold(2, side, 1).unfold(3, side, 1)
    rows, columns = windows.shape[2:4]
    total = len(images) * rows * columns
    random = generator("data", "patches", seed, set_index)
    if total <= 1 << 24:
        chosen = torch.randperm(total, generator=random)[:count]
    else:
        # Repeated positions are rare among this many positions.
        chosen = torch.randint(total, (count,), generator=random)
    chosen = chosen.to(images.device)
    image, position = chosen // (rows * columns), chosen % (rows * columns)
    patches = windows[image, :, position // columns, position % columns]
    return patches.reshape(count, math.prod(patches.shape[1:])).double()
