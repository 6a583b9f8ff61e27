"""The denoising convolutional network of Zhang et al. 2017."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .._papers import ZHANG_2017
from ._chain import Chain


class DnCNN(Chain):
    """DnCNN of Zhang, Zuo, Chen, Meng & Zhang, IEEE Transactions on Image Processing 2017.

    A chain of 3x3 convolutions with batch normalisation and ReLU (the first and the last have no normalisation) that
    estimates the noise, which ``forward`` subtracts. The receptive field is 2 layers + 1. Published are 17 layers for
    one noise level, grey: 0.556 M parameters and 35 pixels; and 20 for unknown ones, the defaults here: blind, 0.667 M
    parameters and 41 pixels. Any image size.

    A convolution before a normalisation has no constants, which the normalisation would remove; counts that include
    them are larger by width (layers - 2). Without bias this is the bias-free DnCNN of Mohan et al., ICLR 2020.

    Parameters
    ----------
    channels
        Channels of the images.
    width
        Channels of the hidden layers.
    layers
        Number of convolutions.
    bias
        Whether to add constants; without, the normalisation is bias-free too, and the network homogeneous.
    norm
        Whether to normalise.
    blind
        Whether to ignore the noise level; otherwise a map of it is a further input channel.
    """

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
