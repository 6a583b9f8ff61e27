"""Checks and padding of input images, and encodings of the noise level."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Lower bound of embedded noise levels, which keeps the logarithm finite at 0.
MIN_SIGMA = 1e-4


def need_multiples(images: Tensor, multiple: int, network: str) -> None:
    """Raise ``ValueError`` if the sides of images (N, C, H, W) are not multiples of ``multiple``."""
    height, width = images.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(f"{network} needs image sides that are multiples of {multiple}, not {height}x{width}")


def need_shape(images: Tensor, shape: tuple[int, int, int], network: str) -> None:
    """Raise ``ValueError`` if images (N, C, H, W) do not have the shape (C, H, W) of the network."""
    if tuple(images.shape[1:]) != tuple(shape):
        expected, actual = ("x".join(map(str, sizes)) for sizes in (shape, images.shape[1:]))
        raise ValueError(f"{network} was built for images of {expected} (channels, height, width) only, not {actual}")


def pad_to_multiple(images: Tensor, multiple: int, min_side: int = 1) -> Tensor:
    """Pad images (N, C, H, W) below and to the right by repeating border pixels."""
    extra = [next_multiple(max(side, min_side), multiple) - side for side in images.shape[-2:]]
    return functional.pad(images, (0, extra[1], 0, extra[0]), mode="replicate") if any(extra) else images


def next_multiple(side: int, multiple: int) -> int:
    """Return the smallest multiple of ``multiple`` that is at least ``side``."""
    return -(-side // multiple) * multiple


def append_noise_level(images: Tensor, sigma: Tensor) -> Tensor:
    """Append a constant map of the noise level as a channel (Zhang, Zuo & Zhang, TIP 2018, section III-B)."""
    count, _, height, width = images.shape
    level = sigma.to(images.dtype).view(-1, 1, 1, 1).expand(count, 1, height, width)
    return torch.cat([images, level], dim=1)


class NoiseEmbedding(nn.Module):
    """Embedding of the noise level: Fourier features of log sigma, and two linear layers with SiLU.

    Ho, Jain & Abbeel, NeurIPS 2020, embed the diffusion time in this way, and Song et al., ICLR 2021, log sigma.
    """

    def __init__(self, width: int, frequencies: int = 16) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.layers = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, sigma: Tensor) -> Tensor:
        """Return embeddings of shape (N, width) for noise levels of shape (N,)."""
        octaves = torch.linspace(-2, 3, self.frequencies, device=sigma.device, dtype=sigma.dtype)
        angles = sigma.clamp_min(MIN_SIGMA).log().view(-1, 1) * (math.log(2) * octaves).exp()
        vector: Tensor = self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))
        return vector
