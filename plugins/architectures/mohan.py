"""The networks of Mohan et al. 2020 besides chains: a small UNet and a recurrent network."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from gahbench_plugins.architectures.layers import initialise_layers

#: Number of hidden convolutions of a stage in all published networks.
HIDDEN = 5
Width = Annotated[int, Field(ge=1)]
Stages = Annotated[int, Field(ge=1, le=1000)]


class MohanUNet(nn.Module):
    """Blind UNet of Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda, ICLR 2020, bias-free by default.

    Nine convolutions with ReLU between them and no normalisation estimate the image, after Zhang et al. 2018
    (arXiv:1805.07709): two at full resolution, four at half resolution (the last two with dilations 2 and 4), a
    transposed convolution to full resolution, and two on the result concatenated with the earlier features at full
    resolution. With the defaults the network has 0.23 M parameters and a receptive field of 45 pixels. Images may have
    any size; odd sides are padded with zeros, and the result is cropped.

    Parameters
    ----------
    channels
        Number of image channels.
    bias
        Whether to use biased convolutions; the last convolution never has a bias.
    """

    display_name = "U-Net of Mohan et al."
    citation = "mohan-2020"
    label_parameters = ("bias",)

    def __init__(self, channels: int, bias: bool = False) -> None:
        super().__init__()
        # The names match the names of the published weights.
        self.conv1 = nn.Conv2d(channels, 32, 5, padding=2, bias=bias)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1, bias=bias)
        self.conv3 = nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=bias)
        self.conv4 = nn.Conv2d(64, 64, 3, padding=1, bias=bias)
        self.conv5 = nn.Conv2d(64, 64, 3, dilation=2, padding=2, bias=bias)
        self.conv6 = nn.Conv2d(64, 64, 3, dilation=4, padding=4, bias=bias)
        self.conv7 = nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1, bias=bias)
        self.conv8 = nn.Conv2d(96, 32, 3, padding=1, bias=bias)
        self.conv9 = nn.Conv2d(32, channels, 5, padding=2, bias=False)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); blind, so ``sigma`` is not used."""
        height, width = noisy.shape[-2:]
        features = functional.pad(noisy, (0, width % 2, 0, height % 2))
        features = self.conv1(features).relu()
        full = features = self.conv2(features).relu()
        for layer in (self.conv3, self.conv4, self.conv5, self.conv6, self.conv7):
            features = layer(features).relu()
        features = self.conv8(torch.cat([features, full], dim=1)).relu()
        image: Tensor = self.conv9(features)
        return image[..., :height, :width]


class Stage(nn.Module):
    """Seven 3x3 convolutions with ReLU between them, named as in the published weights."""

    def __init__(self, inputs: int, width: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.first_layer = nn.Conv2d(inputs, width, 3, padding=1, bias=bias)
        self.hidden_layer_list = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=bias) for _ in range(HIDDEN))
        self.last_layer = nn.Conv2d(width, outputs, 3, padding=1, bias=False)
        initialise_layers(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return maps of shape (N, ``outputs``, H, W), given maps of shape (N, ``inputs``, H, W)."""
        features = self.first_layer(images).relu()
        for layer in self.hidden_layer_list:
            features = layer(features).relu()
        result: Tensor = self.last_layer(features)
        return result


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
    citation = "mohan-2020"
    label_parameters = ("bias",)

    def __init__(self, channels: int, width: Width = 64, stages: Stages = 4, bias: bool = False) -> None:
        super().__init__()
        self.stages = stages
        self.cnn = Stage(2 * channels, width, channels, bias=bias)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); blind, so ``sigma`` is not used."""
        image = noisy
        for _ in range(self.stages):
            image = self.cnn(torch.cat([noisy, image], dim=1))
        return image
