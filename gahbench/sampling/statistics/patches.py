"""Local structure of samples and of real images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gahbench._util.noise import generator

#: Patches that are compared, of each set: more say little more.
PATCHES = 1 << 15


def patch_distance(samples: Tensor, images: Tensor, side: int = 7, directions: int = 128, seed: int = 0) -> float:
    """Return the sliced Wasserstein distance of the patches of two sets, each patch less its own mean.

    Patches are projected on random directions, and in each direction the two distributions of numbers are compared:
    the distance is the root of the mean squared difference of their quantiles, over all directions (Rabin, Peyré,
    Delon & Bernot 2011; of patches of generated images, Karras et al. 2018). Directions are unit vectors without a
    mean, so that patches of white noise of standard deviations a and b are |a - b| apart. As many patches are taken of
    each set, at random places, at most 32,768.

    Parameters
    ----------
    samples, images
        Shapes (N, C, H, W) and (M, C, H, W).
    side
        Side of a patch in pixels, up to that of the images.
    directions
        How many directions.
    seed
        Seed of directions and places, which are the same for the same seed.

    Returns
    -------
    float
        In the units of the images. For two halves of one set it is not 0, but as far as chance goes, which falls with
        the root of the number of images: compare with that.

    Raises
    ------
    ValueError
        If there are none, their shapes differ, or a patch does not fit or has a single value.
    """
    if samples.shape[1:] != images.shape[1:] or not len(samples) or not len(images):
        raise ValueError(
            f"expected samples (N, C, H, W) and images (M, C, H, W) of one shape, not {tuple(samples.shape)} and "
            f"{tuple(images.shape)}"
        )
    if not 2 <= side <= min(images.shape[2:]):
        raise ValueError(f"side={side}: accepted are 2 to {min(images.shape[2:])}, that of the images")
    if directions < 1:
        raise ValueError(f"directions={directions}: accepted are 1, 2, ...")
    places = (images.shape[2] - side + 1) * (images.shape[3] - side + 1)
    count = min(PATCHES, places * min(len(samples), len(images)))
    along = torch.randn(
        images.shape[1] * side**2, directions, dtype=torch.float64, generator=generator("data", "directions", seed)
    )
    along -= along.mean(0)
    along = (along / along.norm(dim=0)).to(samples.device)
    # Without a mean, the directions do not see that of a patch.
    first = (_patches(samples, side, count, seed, 0) @ along).sort(dim=0).values
    second = (_patches(images, side, count, seed, 1).to(samples.device) @ along).sort(dim=0).values
    return float((first - second).square().mean().sqrt())


def _patches(images: Tensor, side: int, count: int, seed: int, which: int) -> Tensor:
    """Return patches from different random places, shape (count, C * side * side), float64."""
    windows = images.unfold(2, side, 1).unfold(3, side, 1)
    rows, columns = windows.shape[2:4]
    total = len(images) * rows * columns
    draw = generator("data", "patches", seed, which)
    if total <= 1 << 24:
        chosen = torch.randperm(total, generator=draw)[:count]
    else:
        # So few of so many hardly ever meet.
        chosen = torch.randint(total, (count,), generator=draw)
    chosen = chosen.to(images.device)
    image, place = chosen // (rows * columns), chosen % (rows * columns)
    patches = windows[image, :, place // columns, place % columns]
    return patches.reshape(count, math.prod(patches.shape[1:])).double()
