"""Images shifted by small displacements, for filters that average over the neighbours of each pixel."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def pad_by_reflection(images: Tensor, margin: int) -> Tensor:
    """Pad images (N, C, H, W) by reflection, repeatedly if the margin is wider than the image."""
    for axis in (2, 3):
        size = images.shape[axis]
        indices = torch.arange(-margin, size + margin, device=images.device).remainder(2 * size)
        images = images.index_select(axis, torch.minimum(indices, 2 * size - 1 - indices))
    return images


def iterate_displacements(images: Tensor, distance: int) -> Iterator[tuple[int, int, Tensor]]:
    """Yield each displacement (down, right) up to a distance along rows and columns, and the displaced images."""
    height, width = images.shape[-2:]
    padded = pad_by_reflection(images, distance)
    for down in range(2 * distance + 1):
        for right in range(2 * distance + 1):
            yield down - distance, right - distance, padded[..., down : down + height, right : right + width]
