"""A UNet conditioned on the noise level, as in diffusion models."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from gahbench_plugins.architectures.layers import NoiseEmbedding, initialise_layers, need_multiples, residual_output


class UNetConditional(nn.Module):
    """UNet of diffusion models, conditioned on the noise level (Ho, Jain & Abbeel 2020; Song et al. 2021).

    Residual blocks have group normalisation and SiLU, and an embedding of log sigma scales and shifts their features
    (Nichol & Dhariwal, ICML 2021). The encoder has strided convolutions, the decoder has nearest-neighbour upsampling
    with a convolution, and each level has a concatenated skip connection. The published attention is omitted. The
    layers estimate the noise divided by sigma, and ``forward`` subtracts sigma times this estimate. With ``sigma_data``
    the network is preconditioned (Karras et al. 2022, table 1), which is needed for strong noise: a relative error of
    1 % in the noise is an error of sigma / 100 in the image. With the defaults it has 0.83 M parameters. The receptive
    field is global, through the means of the normalisation, or 57 pixels without ``norm``.

    Group normalisation and SiLU are not homogeneous, with or without constants, so there is no bias-free version.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels at the finest level; it doubles at each level.
    levels
        Number of times that the resolution is halved; image sides must be multiples of 2^levels.
    blocks
        Number of residual blocks per level, in the encoder and in the decoder.
    norm
        Whether to use normalisation layers.
    blind
        Whether to ignore the noise level: there is no embedding, and the layers estimate the noise.
    sigma_data
        Standard deviation s of pixels around 1/2 (0.15 for C^alpha images) for preconditioning; ``null`` for no
        preconditioning. The input of the layers is (y - 1/2) / sqrt(sigma^2 + s^2). Their output, scaled by sigma
        s / sqrt(sigma^2 + s^2), is added to the pixelwise linear estimate 1/2 + (y - 1/2) s^2 / (sigma^2 + s^2).

    Raises
    ------
    ValueError
        If ``sigma_data`` is given for a blind network.
    """

    display_name = "diffusion U-Net{blind!=true:, given σ}"
    citation = ("ho-2020", "song-2021", "karras-2022")
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 32,
        levels: Annotated[int, Field(ge=1, le=6)] = 2,
        blocks: Annotated[int, Field(ge=1, le=1000)] = 1,
        norm: bool = True,
        blind: bool = False,
        sigma_data: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        super().__init__()
        if blind and sigma_data is not None:
            raise ValueError(f"blind=true with sigma_data={sigma_data}: preconditioning needs the noise level")
        self.levels = levels
        self.sigma_data = sigma_data
        self.embedding = None if blind else NoiseEmbedding(4 * width)
        widths = [width * 2**level for level in range(levels + 1)]

        def stage(inputs: int, outputs: int) -> Stage:
            embedding = None if blind else 4 * width
            return Stage(
                Block(outputs if number else inputs, outputs, embedding, norm=norm) for number in range(blocks)
            )

        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.encoder = nn.ModuleList(stage(features, features) for features in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(features, 2 * features, 3, stride=2, padding=1) for features in widths[:-1])
        self.middle = stage(widths[-1], widths[-1])
        self.up = nn.ModuleList(nn.Conv2d(2 * features, features, 3, padding=1) for features in widths[-2::-1])
        self.decoder = nn.ModuleList(stage(2 * features, features) for features in widths[-2::-1])
        self.last_norm = normalisation(width) if norm else nn.Identity()
        self.last = residual_output(width, channels, bias=True)
        if not norm:
            initialise_layers(self)
            # Set the last weights of blocks to 0 again, so that blocks start as the identity.
            for module in self.modules():
                if isinstance(module, Block):
                    nn.init.zeros_(module.second.weight)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) with noise levels of shape (N,)."""
        need_multiples(noisy, 2**self.levels, f"unet-conditional with levels={self.levels}")
        level = None if self.embedding is None else self.embedding(sigma)
        levels = sigma.view(-1, 1, 1, 1)
        if self.sigma_data is None:
            residual = self._layers(noisy, level)
            return noisy - (residual if level is None else residual * levels)
        variance, centred = levels.square() + self.sigma_data**2, noisy - 0.5
        correction = self._layers(centred / variance.sqrt(), level) * (levels * self.sigma_data / variance.sqrt())
        return 0.5 + centred * (self.sigma_data**2 / variance) + correction

    def _layers(self, images: Tensor, level: Tensor | None) -> Tensor:
        features, skips = self.first(images), []
        for encode, down in zip(self.encoder, self.down, strict=True):
            features = encode(features, level)
            skips.append(features)
            features = down(features)
        features = self.middle(features, level)
        for up, decode in zip(self.up, self.decoder, strict=True):
            # This is nearest-neighbour upsampling without ``interpolate``, which may lose gradients if it is compiled
            # in bfloat16 (torch 2.13 on CPUs).
            features = up(features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
            features = decode(torch.cat([features, skips.pop()], dim=1), level)
        output: Tensor = self.last(functional.silu(self.last_norm(features)))
        return output


class Stage(nn.ModuleList):
    """The residual blocks of a level."""

    def forward(self, features: Tensor, level: Tensor | None) -> Tensor:
        """Transform features of shape (N, C, H, W), given vectors of shape (N, embedding)."""
        for block in self:
            features = block(features, level)
        return features


class Block(nn.Module):
    """A residual block of two convolutions, between which the noise level scales and shifts features."""

    def __init__(self, inputs: int, outputs: int, embedding: int | None, *, norm: bool) -> None:
        super().__init__()
        self.first_norm = normalisation(inputs) if norm else nn.Identity()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.modulation = None if embedding is None else nn.Linear(embedding, 2 * outputs)
        self.second_norm = normalisation(outputs) if norm else nn.Identity()
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, features: Tensor, level: Tensor | None) -> Tensor:
        """Transform features of shape (N, inputs, H, W), given vectors of shape (N, embedding)."""
        inner = self.second_norm(self.first(functional.silu(self.first_norm(features))))
        if self.modulation is not None:
            scale, shift = self.modulation(level)[:, :, None, None].chunk(2, dim=1)
            inner = inner * (1 + scale) + shift
        result: Tensor = self.shortcut(features) + self.second(functional.silu(inner))
        return result


def normalisation(channels: int) -> nn.GroupNorm:
    """Return a group normalisation with up to 8 groups."""
    return nn.GroupNorm(math.gcd(channels, 8), channels)
