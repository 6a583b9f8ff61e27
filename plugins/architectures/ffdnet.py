"""The fast and flexible denoising network of Zhang, Zuo & Zhang 2018."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from .._papers import ZHANG_2018
from ._chain import Chain
from ._inputs import padded


class FFDNet(Chain):
    """FFDNet of Zhang, Zuo & Zhang, IEEE Transactions on Image Processing 2018.

    Each 2x2 cell of pixels becomes the channels of one position (pixel-unshuffle), a map of the noise level is a
    further channel, and a chain of 3x3 convolutions with batch normalisation and ReLU works at half the resolution,
    with a receptive field of 4 layers + 2. With the defaults, those published for grey images: given the noise level,
    0.486 M parameters and 62 pixels. Published for colour: width=96, layers=12, 0.853 M parameters and 50 pixels. Any
    image size: an odd side is extended by a copy of its last pixels, which is cut off again.

    The layers estimate the noise, which ``forward`` subtracts, so that training starts near the identity; the published
    network returns the image itself. Counted, here and in print, are convolutions without constants where a
    normalisation follows.

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
        Whether to leave out the map of the noise level.
    """

    citation = ZHANG_2018
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 64,
        layers: Annotated[int, Field(ge=2, le=1000)] = 15,
        bias: bool = True,
        norm: bool = True,
        blind: bool = False,
    ) -> None:
        super().__init__(4 * channels, width, layers, bias=bias, norm=norm, blind=blind)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) with noise levels of shape (N,)."""
        height, width = noisy.shape[-2:]
        cells = functional.pixel_unshuffle(padded(noisy, 2), 2)
        return noisy - functional.pixel_shuffle(self.noise(cells, sigma), 2)[..., :height, :width]
