"""The fast and flexible denoising network of Zhang, Zuo & Zhang 2018."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from .._papers import ZHANG_2018
from ._chain import Chain
from ._inputs import pad_to_multiple


class FFDNet(Chain):
    """FFDNet of Zhang, Zuo & Zhang, IEEE Transactions on Image Processing 2018.

    Pixel-unshuffle turns 2x2 cells of pixels into channels, and a map of the noise level is an additional channel. A
    chain of 3x3 convolutions with batch normalisation and ReLU works at half the resolution. The receptive field is 4
    layers + 2 pixels. The defaults are the published parameters for grey images: not blind, with 0.486 M parameters and
    a receptive field of 62 pixels. The publication uses width=96 and layers=12 for colour images: 0.853 M parameters
    and a receptive field of 50 pixels. Images may have any size; odd sides are padded by repeating the last pixels, and
    the result is cropped.

    The layers estimate the noise, which ``forward`` subtracts, so that training starts near the identity; the published
    network estimates the image. Convolutions before a normalisation have no bias, and the published parameter counts do
    not include biases.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels of the hidden layers.
    layers
        Number of convolutions.
    bias
        Whether to use additive constants; without constants the normalisation is bias-free, and the network
        homogeneous.
    norm
        Whether to use normalisation layers.
    blind
        Whether to ignore the noise level; otherwise a map of it is an additional input channel.
    """

    display_name = "FFDNet"
    citation = ZHANG_2018
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 64,
        layers: Annotated[int, Field(ge=2, le=1000)] = 15,
        bias: bool = True,
        norm: bool = True,
        blind: bool = False,
    ) -> None:
        super().__init__(4 * channels, width, layers, bias=bias, norm=norm, blind=blind)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) with noise levels of shape (N,)."""
        height, width = noisy.shape[-2:]
        cells = functional.pixel_unshuffle(pad_to_multiple(noisy, 2), 2)
        return noisy - functional.pixel_shuffle(self.noise(cells, sigma), 2)[..., :height, :width]
