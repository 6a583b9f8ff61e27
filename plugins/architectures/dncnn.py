"""The denoising convolutional network of Zhang et al. 2017."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .._papers import ZHANG_2017
from ._chain import Chain


class DnCNN(Chain):
    """DnCNN of Zhang, Zuo, Chen, Meng & Zhang, IEEE Transactions on Image Processing 2017.

    A chain of 3x3 convolutions with batch normalisation and ReLU estimates the noise, which ``forward`` subtracts. The
    first and the last convolution have no normalisation. The receptive field is 2 layers + 1 pixels. The publication
    has networks for grey images with 17 layers for a single noise level (0.556 M parameters, receptive field of 35
    pixels), and with 20 layers for unknown noise levels (0.667 M parameters, 41 pixels), which is the default. Images
    may have any size.

    Convolutions before a normalisation have no bias, which the normalisation would remove; parameter counts that
    include these biases are larger by width (layers - 2). With ``bias=false`` the network is the bias-free DnCNN of
    Mohan et al., ICLR 2020.

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

    display_name = "DnCNN"
    citation = ZHANG_2017
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 64,
        layers: Annotated[int, Field(ge=2, le=1000)] = 20,
        bias: bool = True,
        norm: bool = True,
        blind: bool = True,
    ) -> None:
        super().__init__(channels, width, layers, bias=bias, norm=norm, blind=blind)
