"""The bias-free convolutional networks of the code of Kadkhodaie et al. 2024."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ._bias_free import BiasFreeNorm, residual_output


class BFCNNRF(nn.Module):
    """Blind bias-free CNN with a receptive field of choice of Kadkhodaie, Guth, Simoncelli & Mallat, ICLR 2024.

    As ``bf-cnn``, but there is no ReLU after the first convolution, and some kernels may be 1x1: the networks BF_CNN
    (spacing 1) and BF_CNN_RF of the published code. With the defaults: 0.7 M parameters and a receptive field of 43
    pixels; with 21 layers and spacings 1, 2, 4, 8, 20 of 43, 23, 13, 9, 5. Any image size.

    Parameters
    ----------
    channels
        Channels of the images.
    width
        Channels of the hidden layers.
    layers
        Number of convolutions.
    spacing
        Of the hidden convolutions, counted from 1, every so many has a 3x3 kernel, and the others 1x1. The first and
        the last convolution always have 3x3: the receptive field is 2 (2 + (layers - 2) // spacing) + 1.
    """

    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 64,
        layers: Annotated[int, Field(ge=2)] = 21,
        spacing: Annotated[int, Field(ge=1)] = 1,
    ) -> None:
        super().__init__()
        chain: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
        for number in range(1, layers - 1):
            side = 1 if number % spacing else 3
            convolution = nn.Conv2d(width, width, side, padding=side // 2, bias=False)
            chain += [convolution, BiasFreeNorm(width), nn.ReLU(inplace=True)]
        chain.append(residual_output(width, channels, bias=False))
        self.layers = nn.Sequential(*chain)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); blind, so ``sigma`` is not used."""
        residual: Tensor = self.layers(noisy)
        return noisy - residual
