"""A UNet that is conditioned on the noise level, as in diffusion models."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from .._papers import HO_2020, KARRAS_2022, SONG_2021
from ._bias_free import keep_variance, residual_output
from ._inputs import NoiseEmbedding, need_multiples


class UNetConditional(nn.Module):
    """The UNet of diffusion models: Ho, Jain & Abbeel, NeurIPS 2020; Song et al., ICLR 2021.

    Residual blocks with group normalisation and SiLU, whose features are scaled and shifted by an embedding of log
    sigma (Nichol & Dhariwal, ICML 2021); strided convolutions on the way down, nearest neighbours and a convolution on
    the way up, concatenated skips, one for each level. The published attention is left out. The layers estimate the
    noise over sigma, and ``forward`` subtracts sigma times that; or they are preconditioned (Karras et al. 2022, table
    1), which strong noise needs: an error of 1 % in the noise is one of sigma / 100 in the image. With the defaults:
    0.83 M parameters. The receptive field is global, through the means of the normalisation; without ``norm`` it is 57
    pixels.

    Group normalisation and SiLU are not homogeneous, with or without constants, so there is no bias-free version.

    Parameters
    ----------
    channels
        Channels of the images.
    width
        Channels of the finest level; each level doubles them.
    levels
        How often the resolution is halved; image sides must be multiples of 2^levels.
    blocks
        Residual blocks at a level, on the way down and on the way up.
    norm
        Whether to normalise.
    blind
        Whether to ignore the noise level: no embedding, and the layers estimate the noise itself.
    sigma_data
        Standard deviation s of the pixels of the data about 1/2, 0.15 on C^alpha images, for preconditioning: the
        layers are given (y - 1/2) / sqrt(sigma^2 + s^2), and add what best estimates the image beside the best linear
        one without correlations, 1/2 + (y - 1/2) s^2 / (sigma^2 + s^2), in units of its error. Not by default.

    Raises
    ------
    ValueError
        If a blind network is to be preconditioned.
    """

    citation = (HO_2020, SONG_2021, KARRAS_2022)
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
            return Stage(inputs, outputs, blocks, None if blind else 4 * width, norm=norm)

        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.encoder = nn.ModuleList(stage(here, here) for here in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(here, 2 * here, 3, stride=2, padding=1) for here in widths[:-1])
        self.middle = stage(widths[-1], widths[-1])
        self.up = nn.ModuleList(nn.Conv2d(2 * here, here, 3, padding=1) for here in widths[-2::-1])
        self.decoder = nn.ModuleList(stage(2 * here, here) for here in widths[-2::-1])
        self.last_norm = normalisation(width) if norm else nn.Identity()
        self.last = residual_output(width, channels, bias=True)
        if not norm:
            keep_variance(self)
            # Blocks still start as the identity.
            for module in self.modules():
                if isinstance(module, Block):
                    nn.init.zeros_(module.second.weight)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) with noise levels of shape (N,)."""
        need_multiples(noisy, 2**self.levels, f"unet-conditional with levels={self.levels}")
        level = None if self.embedding is None else self.embedding(sigma)
        column = sigma.view(-1, 1, 1, 1)
        if self.sigma_data is None:
            residual = self._layers(noisy, level)
            return noisy - (residual if level is None else residual * column)
        total, centred = column.square() + self.sigma_data**2, noisy - 0.5
        added = self._layers(centred / total.sqrt(), level) * (column * self.sigma_data / total.sqrt())
        return 0.5 + centred * (self.sigma_data**2 / total) + added

    def _layers(self, images: Tensor, level: Tensor | None) -> Tensor:
        features, skips = self.first(images), []
        for encode, down in zip(self.encoder, self.down, strict=True):
            features = encode(features, level)
            skips.append(features)
            features = down(features)
        features = self.middle(features, level)
        for up, decode in zip(self.up, self.decoder, strict=True):
            # The nearest neighbours. Compiled in bfloat16, ``interpolate`` may lose the gradient (torch 2.13 on CPUs).
            features = up(features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
            features = decode(torch.cat([features, skips.pop()], dim=1), level)
        found: Tensor = self.last(functional.silu(self.last_norm(features)))
        return found


class Stage(nn.Module):
    """The residual blocks of one level."""

    def __init__(self, inputs: int, outputs: int, count: int, embedding: int | None, *, norm: bool) -> None:
        super().__init__()
        widths = [inputs, *[outputs] * (count - 1)]
        self.blocks = nn.ModuleList(Block(width, outputs, embedding, norm=norm) for width in widths)

    def forward(self, features: Tensor, level: Tensor | None) -> Tensor:
        """Transform features of shape (N, C, H, W), given vectors of shape (N, embedding)."""
        for block in self.blocks:
            features = block(features, level)
        return features


class Block(nn.Module):
    """Two convolutions, scaled and shifted between by the noise level, added to their input."""

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
    """Return the normalisation of up to 8 groups of channels."""
    return nn.GroupNorm(math.gcd(channels, 8), channels)
