"""The bias-free convolutional network of Mohan et al. 2020."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from .bias_free import convolution, residual_output


class BFCNN(nn.Module):
    """Blind bias-free CNN of Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda, ICLR 2020.

    A chain of 3x3 convolutions with bias-free normalisation and ReLU (the first and the last have no normalisation)
    that estimates the noise, which ``forward`` subtracts. With the defaults: 0.7 M parameters and a receptive field of
    43 pixels; any image size.

    Parameters
    ----------
    channels
        Channels of the images.
    width
        Channels of the hidden layers.
    layers
        Number of convolutions.
    bias
        Whether to add constants: biased convolutions and ordinary batch normalisation.
    """

    always_shown = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 64,
        layers: Annotated[int, Field(ge=2)] = 21,
        bias: bool = False,
    ) -> None:
        super().__init__()
        chain = convolution(channels, width, bias=bias, norm=False)
        for _ in range(layers - 2):
            chain += convolution(width, width, bias=bias)
        chain.append(residual_output(width, channels, bias=bias))
        self.layers = nn.Sequential(*chain)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); blind, so ``sigma`` is not used."""
        residual: Tensor = self.layers(noisy)
        return noisy - residual
