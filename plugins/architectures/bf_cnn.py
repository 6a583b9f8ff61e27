"""The bias-free convolutional network of Mohan et al. 2020."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .._papers import MOHAN_2020
from ._chain import Chain


class BFCNN(Chain):
    """Bias-free CNN of Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda, ICLR 2020.

    A chain of 3x3 convolutions with bias-free normalisation and ReLU estimates the noise, which ``forward`` subtracts.
    The first and the last convolution have no normalisation. With the defaults the network is blind, and has 0.7 M
    parameters and a receptive field of 43 pixels. Images may have any size.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels of the hidden layers.
    layers
        Number of convolutions.
    bias
        Whether to use biased convolutions and ordinary batch normalisation.
    norm
        Whether to use normalisation layers.
    blind
        Whether to ignore the noise level; otherwise a map of it is an additional input channel.
    """

    display_name = "BF-CNN"
    citation = MOHAN_2020
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 64,
        layers: Annotated[int, Field(ge=2, le=1000)] = 21,
        bias: bool = False,
        norm: bool = True,
        blind: bool = True,
    ) -> None:
        super().__init__(channels, width, layers, bias=bias, norm=norm, blind=blind)
