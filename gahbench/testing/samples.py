"""Images for checks: smooth random fields, different in every place and channel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gahbench.noise import generator


def sample_images(count: int, shape: tuple[int, int, int]) -> Tensor:
    """Return smooth random images in [0, 1], shape (count, C, H, W)."""
    channels, height, width = shape
    coarse = torch.rand(count, channels, 5, 5, generator=generator("data", "checks"))
    return functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True).clamp(0, 1)


def sample_noise(images: Tensor, sigma: float, draw: int = 0) -> Tensor:
    """Return noise of standard deviation ``sigma`` in the shape of the images."""
    return sigma * torch.randn(images.shape, generator=generator("noise", "checks", draw), dtype=images.dtype)
