"""The bias-free convolutional network of Mohan et al. 2020."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .._papers import MOHAN_2020
from ._chain import Chain


class BFCNN(Chain):
    """Bias-free CNN of Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda, ICLR 2020.

    A chain of 3x3 convolutions with bias-free normalisation and ReLU (the first and the last have no normalisation)
    that estimates the noise, which ``forward`` subtracts. With the defaults: blind, 0.7 M parameters and a receptive
    field of 43 pixels; any image size.

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
    norm
        Whether to normalise.
    blind
        Whether to ignore the noise level; otherwise a map of it is a further input channel.
    """

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
