"""The UNet of Kadkhodaie et al. 2024."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from .bias_free import convolution, residual_output


class UNet(nn.Module):
    """Blind bias-free UNet of Kadkhodaie, Guth, Simoncelli & Mallat, ICLR 2024.

    Every block has 3x3 convolutions with bias-free normalisation and ReLU (the first has no normalisation, the last
    neither); 2x2 average pooling on the way down, 2x2 transposed convolutions on the way up, concatenated skips. The
    layers estimate the noise, which ``forward`` subtracts. With the defaults: 7.6 M parameters and a receptive field of
    92 pixels.

    Parameters
    ----------
    channels
        Channels of the images.
    width
        Channels of the finest level; each level doubles them.
    levels
        How often the resolution is halved; image sides must be multiples of 2^levels.
    convolutions
        Convolutions in a block.
    bias
        Whether to add constants: biased convolutions and ordinary batch normalisation.
    """

    always_shown = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 64,
        levels: Annotated[int, Field(ge=1, le=6)] = 3,
        convolutions: Annotated[int, Field(ge=2)] = 2,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.levels = levels
        widths = [width * 2**level for level in range(levels + 1)]

        def block(inputs: int, outputs: int, count: int, *, norm_first: bool = True) -> list[nn.Module]:
            layers = convolution(inputs, outputs, bias=bias, norm=norm_first)
            for _ in range(count - 1):
                layers += convolution(outputs, outputs, bias=bias)
            return layers

        self.encoder = nn.ModuleList(
            nn.Sequential(*block(inputs, outputs, convolutions, norm_first=level > 0))
            for level, (inputs, outputs) in enumerate(zip([channels, *widths], widths[:-1], strict=False))
        )
        self.middle = nn.Sequential(*block(widths[-2], widths[-1], convolutions))
        self.upsample = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for level in reversed(range(levels)):
            here = widths[level]
            self.upsample.append(nn.ConvTranspose2d(2 * here, here, 2, stride=2, bias=bias))
            last = [residual_output(here, channels, bias=bias)] if level == 0 else []
            self.decoder.append(nn.Sequential(*block(2 * here, here, convolutions - (level == 0)), *last))

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); blind, so ``sigma`` is not used.

        Raises
        ------
        ValueError
            If 2^levels does not divide the height and the width.
        """
        multiple = 2**self.levels
        if noisy.shape[-1] % multiple or noisy.shape[-2] % multiple:
            size = "x".join(map(str, noisy.shape[-2:]))
            raise ValueError(
                f"unet with levels={self.levels} needs image sides that are multiples of {multiple}, not {size}"
            )
        features, skips = noisy, []
        for encode in self.encoder:
            features = encode(features)
            skips.append(features)
            features = functional.avg_pool2d(features, 2)
        features = self.middle(features)
        for upsample, decode in zip(self.upsample, self.decoder, strict=True):
            features = decode(torch.cat([upsample(features), skips.pop()], dim=1))
        residual: Tensor = features
        return noisy - residual
