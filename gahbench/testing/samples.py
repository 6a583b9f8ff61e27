"""Images for checks: smooth random fields."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gahbench._util.noise import generator
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset, Split


def sample_images(count: int, shape: Shape, *parts: str) -> Tensor:
    """Return smooth random images in [0, 1], shape (count, C, H, W); different ``parts`` give different draws."""
    channels, height, width = shape
    coarse = torch.rand(count, channels, 5, 5, generator=generator("data", "checks", *parts))
    return functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True).clamp(0, 1)


def sample_noise(images: Tensor, sigma: float, draw: int = 0) -> Tensor:
    """Return noise of standard deviation ``sigma`` in the shape of the images."""
    return sigma * torch.randn(images.shape, generator=generator("noise", "checks", draw), dtype=images.dtype)


class SampleDataset(Dataset):
    """A dataset of 256 smooth random images in each split, of any shape."""

    SIZE = 256

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of an image."""
        return self._shape

    def available(self, split: Split) -> int:
        """Return the number of images of a split, 256."""
        return self.SIZE

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images ``start`` to ``start + count`` of a split, shape (count, C, H, W)."""
        return sample_images(self.SIZE, self.shape, split)[start : start + count]
