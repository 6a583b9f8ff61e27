"""The network without activation functions of Chen et al. 2022."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

from gahbench_plugins.architectures.layers import append_noise_level, residual_output

Blocks = tuple[Annotated[int, Field(ge=0, le=1000)], ...]


class NAFNet(nn.Module):
    """NAFNet of Chen, Chu, Zhang & Sun, "Simple Baselines for Image Restoration", ECCV 2022.

    NAFNet is a UNet of residual blocks without activation functions. Its nonlinearities are layer normalisation over
    channels and products of features: a gate multiplies two halves of the channels, and channel attention multiplies
    channels by a linear map of their means. It has 2x2 convolutions with stride 2 in the encoder, pixel-shuffle in the
    decoder, and additive skip connections. The layers estimate the noise, which ``forward`` subtracts. The receptive
    field is global, through the means of channel attention. Images of any size are padded below and to the right with
    zeros to multiples of 2^levels, and the result is cropped.

    The published denoiser has width=32, encoder=[2,2,4,8], middle=12, decoder=[2,2,2,2], and 29.16 M parameters for
    colour images (width=64: 116 M). The defaults give a small blind network with 0.29 M parameters. The network is not
    homogeneous: its blocks add features of degree 0, even without constants.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels at the finest level; it doubles at each level.
    encoder
        Number of blocks at each level of the encoder, finest first.
    middle
        Number of blocks at the coarsest resolution.
    decoder
        Number of blocks at each level of the decoder, coarsest first; as many numbers as in ``encoder``.
    blind
        Whether to ignore the noise level; otherwise a map of it is an additional input channel.
    """

    display_name = "NAFNet"
    citation = "chen-2022"
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 16,
        encoder: Blocks = (1, 1, 1),
        middle: Annotated[int, Field(ge=0, le=1000)] = 1,
        decoder: Blocks = (1, 1, 1),
        blind: bool = True,
    ) -> None:
        if len(encoder) != len(decoder):
            raise ValueError(
                f"encoder and decoder must have one number for each level, but have {len(encoder)} and {len(decoder)}"
            )
        super().__init__()
        self.multiple = 2 ** len(encoder)
        self.blind = blind
        widths = [width * 2**level for level in range(len(encoder) + 1)]

        def blocks(channels: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(Block(channels) for _ in range(count)))

        self.first = nn.Conv2d(channels + (not blind), width, 3, padding=1)
        self.encoder = nn.ModuleList(blocks(features, count) for features, count in zip(widths, encoder, strict=False))
        self.down = nn.ModuleList(nn.Conv2d(features, 2 * features, 2, stride=2) for features in widths[:-1])
        self.middle = blocks(widths[-1], middle)
        # Pixel-shuffle turns 2 c channels into c / 2 channels at twice the resolution.
        self.up = nn.ModuleList(nn.Conv2d(features, 2 * features, 1, bias=False) for features in widths[:0:-1])
        self.decoder = nn.ModuleList(
            blocks(features, count) for features, count in zip(widths[-2::-1], decoder, strict=True)
        )
        self.last = residual_output(width, channels, bias=True)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) with noise levels of shape (N,)."""
        height, width = noisy.shape[-2:]
        padded = functional.pad(noisy, (0, -width % self.multiple, 0, -height % self.multiple))
        features = self.first(padded if self.blind else append_noise_level(padded, sigma))
        skips = []
        for encode, down in zip(self.encoder, self.down, strict=True):
            features = encode(features)
            skips.append(features)
            features = down(features)
        features = self.middle(features)
        for up, decode in zip(self.up, self.decoder, strict=True):
            features = decode(functional.pixel_shuffle(up(features), 2) + skips.pop())
        residual: Tensor = self.last(features)[..., :height, :width]
        return noisy - residual


class Block(nn.Module):
    """A residual depthwise convolution with gate and channel attention, then a residual gated pointwise layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.space_norm = LayerNorm2d(channels)
        self.spread = nn.Conv2d(channels, 2 * channels, 1)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.attention = nn.Conv2d(channels, channels, 1)
        self.gather = nn.Conv2d(channels, channels, 1)
        self.space_gain = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.point_norm = LayerNorm2d(channels)
        self.point_spread = nn.Conv2d(channels, 2 * channels, 1)
        self.point_gather = nn.Conv2d(channels, channels, 1)
        self.point_gain = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Transform features of shape (N, C, H, W)."""
        gated = gate(self.depthwise(self.spread(self.space_norm(features))))
        attended = gated * self.attention(gated.mean(dim=(2, 3), keepdim=True))
        features = features + self.space_gain * self.gather(attended)
        gated = gate(self.point_spread(self.point_norm(features)))
        result: Tensor = features + self.point_gain * self.point_gather(gated)
        return result


def gate(features: Tensor) -> Tensor:
    """Return the product of the first and the second half of the channels."""
    first, second = features.chunk(2, dim=1)
    return first * second
