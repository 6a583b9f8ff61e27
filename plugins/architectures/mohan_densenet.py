"""The simplified dense network of Mohan et al. 2020."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from .._papers import MOHAN_2020
from .mohan_rcnn import HIDDEN, Stage


class MohanDenseNet(nn.Module):
    """Blind simplified DenseNet of Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda, ICLR 2020, bias-free by default.

    The network is ``mohan-rcnn`` unrolled, with separate weights for each stage. Each stage is a chain of seven 3x3
    convolutions with ReLU between them and no normalisation. Its input is the noisy image and the five maps that the
    previous stage returns. The last stage estimates the image. With the defaults the network has 0.76 M parameters and
    a receptive field of 57 pixels, which grows by 14 with each stage. Images may have any size.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels of the hidden layers.
    stages
        Number of stages.
    bias
        Whether to use biased convolutions; the last convolution of the network never has a bias.
    """

    display_name = "DenseNet of Mohan et al."
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
        # The published code passes as many maps between stages as a stage has hidden layers.
        self.cnn_list = nn.ModuleList(
            Stage(
                channels + (HIDDEN if stage else 0),
                width,
                HIDDEN if stage < stages - 1 else channels,
                bias=bias,
                last_bias=bias and stage < stages - 1,
            )
            for stage in range(stages)
        )

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); blind, so ``sigma`` is not used."""
        maps = noisy[:, :0]
        for stage in self.cnn_list:
            maps = stage(torch.cat([noisy, maps], dim=1))
        return maps
