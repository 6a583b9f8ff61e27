"""The dilated convolutional network of Zhang et al. 2017."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from .._papers import ZHANG_2017_IRCNN
from ._bias_free import initialise_layers, residual_output

#: Dilations of the seven convolutions.
DILATIONS = (1, 2, 3, 4, 3, 2, 1)
#: Width of the range of noise levels of each published network.
STEP = 2 / 255


class IRCNN(nn.Module):
    """Dilated CNN of Zhang, Zuo, Gu & Zhang, CVPR 2017, the denoiser of IRCNN.

    Seven 3x3 convolutions with dilations 1, 2, 3, 4, 3, 2, 1 and ReLU between them estimate the noise, which
    ``forward`` subtracts. There is no normalisation, since in the published weights it is merged into the convolutions.
    With the defaults the network has 0.19 M parameters and a receptive field of 33 pixels. Images may have any size.

    The published file contains 25 networks, for sigma up to 2/255, 4/255, ..., 50/255 (``levels=25``). Each image is
    denoised by the network for its noise level, or by the last network if sigma is larger. A single network
    (``levels=1``) is blind.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels of the hidden layers.
    levels
        Number of networks; network k = 1, 2, ... is for sigma in (2 (k - 1), 2 k] / 255, and the last also for larger
        sigma.
    bias
        Whether to use biased convolutions; without bias the network is homogeneous.
    """

    display_name = "IRCNN"
    citation = ZHANG_2017_IRCNN
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 64,
        levels: Annotated[int, Field(ge=1, le=1000)] = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(_dilated_convolutions(channels, width, bias=bias) for _ in range(levels))

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) with noise levels of shape (N,)."""
        if len(self.networks) == 1:
            image: Tensor = noisy - self.networks[0](noisy)
            return image
        # The tolerance keeps rounded noise levels in their range: 4/255 in float32 is slightly above 4/255.
        indices = (sigma / STEP - 5e-7 * len(self.networks)).ceil().long().clamp(1, len(self.networks)) - 1
        estimates = torch.zeros_like(noisy)
        for index in sorted(set(indices.tolist())):
            selected = (indices == index).nonzero().flatten()
            noise = self.networks[index](noisy.index_select(0, selected))
            estimates = estimates.index_copy(0, selected, noise.to(estimates.dtype))
        return noisy - estimates


def _dilated_convolutions(channels: int, width: int, *, bias: bool) -> nn.Sequential:
    """Return the seven convolutions, whose output is near 0 before training."""
    modules: list[nn.Module] = []
    inputs = channels
    for dilation in DILATIONS[:-1]:
        modules += [nn.Conv2d(inputs, width, 3, padding=dilation, dilation=dilation, bias=bias), nn.ReLU(inplace=True)]
        inputs = width
    network = nn.Sequential(*modules, residual_output(width, channels, bias=bias))
    initialise_layers(network)
    return network
