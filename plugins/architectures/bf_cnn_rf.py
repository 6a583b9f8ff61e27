"""Bias-free convolutional networks of Kadkhodaie et al. 2024 with an adjustable receptive field."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .._papers import KADKHODAIE_2024
from ._chain import Chain


class BFCNNRF(Chain):
    """Blind bias-free CNN with adjustable receptive field of Kadkhodaie, Guth, Simoncelli & Mallat, ICLR 2024.

    The network differs from ``bf-cnn`` in two points: there is no ReLU after the first convolution, and some kernels
    may be 1x1. It is BF_CNN (spacing 1) or BF_CNN_RF of the published code. With the defaults it has 0.7 M parameters
    and a receptive field of 43 pixels. With 21 layers, spacings of 1, 2, 4, 8 and 20 give receptive fields of 43, 23,
    13, 9 and 5 pixels. Images may have any size.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels of the hidden layers.
    layers
        Number of convolutions.
    spacing
        Every ``spacing``-th hidden convolution has a 3x3 kernel, and the other hidden convolutions have 1x1 kernels.
        The first and the last convolution always have 3x3 kernels. The receptive field is 2 (2 + (layers - 2) //
        spacing) + 1 pixels.
    """

    display_name = "BF-CNN of Kadkhodaie et al."
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
