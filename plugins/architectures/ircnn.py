"""The dilated network of Zhang et al. 2017."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from .._papers import ZHANG_2017_IRCNN
from ._bias_free import keep_variance, residual_output

#: Dilations of the seven convolutions.
DILATIONS = (1, 2, 3, 4, 3, 2, 1)
#: Range of noise levels that each published network is for: two of 255.
STEP = 2 / 255


class IRCNN(nn.Module):
    """Dilated CNN of Zhang, Zuo, Gu & Zhang, CVPR 2017, the denoiser of IRCNN.

    Seven 3x3 convolutions with dilations 1, 2, 3, 4, 3, 2, 1 and ReLU between them estimate the noise, which
    ``forward`` subtracts. No normalisation: in the published weights it is merged into the convolutions. With the
    defaults 0.19 M parameters and a receptive field of 33 pixels; any image size.

    Published are 25 of them in one file, for sigma up to 2, 4, ..., 50 of 255 (``levels=25``): each image is denoised
    by the network for its noise level, and by the last above. One network (``levels=1``) is blind.

    Parameters
    ----------
    channels
        Channels of the images.
    width
        Channels of the hidden layers.
    levels
        Number of networks; number k, from 1, is for sigma in (2 (k - 1), 2 k] of 255, and the last for all above.
    bias
        Whether to add constants; without them the network is homogeneous.
    """

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
        self.networks = nn.ModuleList(_dilated(channels, width, bias=bias) for _ in range(levels))

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) with noise levels of shape (N,)."""
        if len(self.networks) == 1:
            image: Tensor = noisy - self.networks[0](noisy)
            return image
        # Half a millionth of a step below a border is on it: 4/255 in float32 is a little more than in the reals.
        numbers = (sigma / STEP - 5e-7 * len(self.networks)).ceil().long().clamp(1, len(self.networks)) - 1
        found = torch.zeros_like(noisy)
        for number in sorted(set(numbers.tolist())):
            places = (numbers == number).nonzero().flatten()
            noise = self.networks[number](noisy.index_select(0, places))
            found = found.index_copy(0, places, noise.to(found.dtype))
        return noisy - found


def _dilated(channels: int, width: int, *, bias: bool) -> nn.Sequential:
    """Return the seven convolutions; the result is the noise, near 0 before training."""
    modules: list[nn.Module] = []
    inputs = channels
    for dilation in DILATIONS[:-1]:
        modules += [nn.Conv2d(inputs, width, 3, padding=dilation, dilation=dilation, bias=bias), nn.ReLU(inplace=True)]
        inputs = width
    network = nn.Sequential(*modules, residual_output(width, channels, bias=bias))
    keep_variance(network)
    return network
