"""The bias-free convolutional networks of the code of Kadkhodaie et al. 2024."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .._papers import KADKHODAIE_2024
from ._chain import Chain


class BFCNNRF(Chain):
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
        Period of the hidden convolutions, counted from 1, with a 3x3 kernel; the others have 1x1. The first and
        the last convolution always have 3x3: the receptive field is 2 (2 + (layers - 2) // spacing) + 1.
    """

    citation = KADKHODAIE_2024
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 64,
        layers: Annotated[int, Field(ge=2, le=1000)] = 21,
        spacing: Annotated[int, Field(ge=1)] = 1,
    ) -> None:
        super().__init__(channels, width, layers, bias=False, norm=True, blind=True, spacing=spacing, first_relu=False)
