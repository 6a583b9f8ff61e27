"""The recurrent network of Mohan et al. 2020."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from .._papers import MOHAN_2020
from ._bias_free import initialise_layers

#: Number of hidden convolutions of a stage in all published networks.
HIDDEN = 5


class MohanRCNN(nn.Module):
    """Blind recurrent CNN of Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda, ICLR 2020, bias-free by default.

    A chain of seven 3x3 convolutions with ReLU between them and no normalisation is applied repeatedly, to the noisy
    image concatenated with the previous estimate of the image, which starts as the noisy image (after Zhang et al.
    2018, arXiv:1805.07709). With the defaults the network has 0.19 M parameters and a receptive field of 57 pixels,
    which grows by 14 with each stage. Images may have any size. Training uses all stages; the published training draws
    their number at random for each batch.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels of the hidden layers.
    stages
        Number of applications of the chain.
    bias
        Whether to use biased convolutions; the last convolution never has a bias.
    """

    display_name = "recurrent CNN of Mohan et al."
    citation = MOHAN_2020
    label_parameters = ("bias",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 64,
        stages: Annotated[int, Field(ge=1, le=1000)] = 4,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.stages = stages
        self.cnn = Stage(2 * channels, width, channels, bias=bias, last_bias=False)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); blind, so ``sigma`` is not used."""
        image = noisy
        for _ in range(self.stages):
            image = self.cnn(torch.cat([noisy, image], dim=1))
        return image


class Stage(nn.Module):
    """Seven 3x3 convolutions with ReLU between them, named as in the published weights."""

    def __init__(self, inputs: int, width: int, outputs: int, *, bias: bool, last_bias: bool) -> None:
        super().__init__()
        self.first_layer = nn.Conv2d(inputs, width, 3, padding=1, bias=bias)
        self.hidden_layer_list = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=bias) for _ in range(HIDDEN))
        self.last_layer = nn.Conv2d(width, outputs, 3, padding=1, bias=last_bias)
        initialise_layers(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return maps of shape (N, ``outputs``, H, W), given maps of shape (N, ``inputs``, H, W)."""
        features = self.first_layer(images).relu()
        for layer in self.hidden_layer_list:
            features = layer(features).relu()
        result: Tensor = self.last_layer(features)
        return result
