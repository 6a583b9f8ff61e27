"""Shapes of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

#: Channels, height and width of an image.
Shape = tuple[int, int, int]


def image_shape(images: Tensor) -> Shape:
    """Return the shape (C, H, W) of an image in a batch.

    Parameters
    ----------
    images
        Batch of images, shape (N, C, H, W).

    Examples
    --------
    >>> import torch
    >>> image_shape(torch.zeros(5, 3, 16, 24))
    (3, 16, 24)
    """
    channels, height, width = images.shape[1:]
    return (channels, height, width)
