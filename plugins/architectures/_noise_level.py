"""Inputs of the noise level for networks that are not blind."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: Lower noise levels are embedded as this one, which keeps the logarithm finite at 0.
LOWEST = 1e-4


def with_noise_level(images: Tensor, sigma: Tensor) -> Tensor:
    """Append a constant map of the noise level as a further channel (Zhang, Zuo & Zhang, TIP 2018, section III-B)."""
    count, _, height, width = images.shape
    level = sigma.to(images.dtype).view(-1, 1, 1, 1).expand(count, 1, height, width)
    return torch.cat([images, level], dim=1)


class NoiseEmbedding(nn.Module):
    """Embedding of the noise level: Fourier features of log sigma and two linear layers with SiLU.

    Ho, Jain & Abbeel, NeurIPS 2020, embed the time of the diffusion so; Song et al., ICLR 2021, log sigma.
    """

    def __init__(self, width: int, frequencies: int = 16) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.layers = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, sigma: Tensor) -> Tensor:
        """Return vectors of shape (N, width) for noise levels of shape (N,)."""
        octaves = torch.linspace(-2, 3, self.frequencies, device=sigma.device, dtype=sigma.dtype)
        angles = sigma.clamp_min(LOWEST).log().view(-1, 1) * (math.log(2) * octaves).exp()
        vector: Tensor = self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))
        return vector
