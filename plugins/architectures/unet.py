"""The UNet of Kadkhodaie et al. 2024."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from gahbench_plugins.architectures.layers import (
    append_noise_level,
    convolution,
    initialise_layers,
    need_multiples,
    residual_output,
)


class UNet(nn.Module):
    """Bias-free UNet of Kadkhodaie, Guth, Simoncelli & Mallat, ICLR 2024.

    Every block has 3x3 convolutions with bias-free normalisation and ReLU. The first convolution of the network has no
    normalisation, and the last has neither normalisation nor ReLU. The encoder has 2x2 average pooling, the decoder has
    2x2 transposed convolutions, and skip connections are concatenated. The layers estimate the noise, which ``forward``
    subtracts. With the defaults the network is blind, and has 7.6 M parameters and a receptive field of 92 pixels.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels at the finest level; it doubles at each level.
    levels
        Number of times that the resolution is halved; image sides must be multiples of 2^levels.
    convolutions
        Number of convolutions per block.
    bias
        Whether to use biased convolutions and ordinary batch normalisation.
    norm
        Whether to use normalisation layers.
    blind
        Whether to ignore the noise level; otherwise a map of it is an additional input channel.
    """

    display_name = "U-Net{blind=false:, given σ}"
    citation = "kadkhodaie-2024"
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 64,
        levels: Annotated[int, Field(ge=1, le=6)] = 3,
        convolutions: Annotated[int, Field(ge=2)] = 2,
        bias: bool = False,
        norm: bool = True,
        blind: bool = True,
    ) -> None:
        super().__init__()
        self.levels = levels
        self.blind = blind
        widths = [width * 2**level for level in range(levels + 1)]

        def block(inputs: int, outputs: int, count: int, *, norm_first: bool = norm) -> list[nn.Module]:
            layers = convolution(inputs, outputs, bias=bias, norm=norm_first)
            for _ in range(count - 1):
                layers += convolution(outputs, outputs, bias=bias, norm=norm)
            return layers

        self.encoder = nn.ModuleList(
            nn.Sequential(*block(inputs, outputs, convolutions, norm_first=norm and level > 0))
            for level, (inputs, outputs) in enumerate(zip([channels + (not blind), *widths], widths[:-1], strict=False))
        )
        self.middle = nn.Sequential(*block(widths[-2], widths[-1], convolutions))
        self.upsample = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for level in reversed(range(levels)):
            features = widths[level]
            self.upsample.append(nn.ConvTranspose2d(2 * features, features, 2, stride=2, bias=bias))
            last = [residual_output(features, channels, bias=bias)] if level == 0 else []
            self.decoder.append(nn.Sequential(*block(2 * features, features, convolutions - (level == 0)), *last))
        if not norm:
            initialise_layers(self)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) with noise levels of shape (N,)."""
        need_multiples(noisy, 2**self.levels, f"unet with levels={self.levels}")
        features = noisy if self.blind else append_noise_level(noisy, sigma)
        skips = []
        for encode in self.encoder:
            features = encode(features)
            skips.append(features)
            features = functional.avg_pool2d(features, 2)
        features = self.middle(features)
        for upsample, decode in zip(self.upsample, self.decoder, strict=True):
            features = decode(torch.cat([upsample(features), skips.pop()], dim=1))
        residual: Tensor = features
        return noisy - residual
