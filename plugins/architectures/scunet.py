"""The Swin-Conv-UNet, from deepinv."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from gahbench import File

from ._through_deepinv import build


class SCUNet(nn.Module):
    """UNet of blocks that are half Swin transformer, half convolution, of Zhang et al., MIR 2023; needs extra deepinv.

    Four scales as in DRUNet; in each block half of the channels attend within windows of 8x8, shifted by half in every
    second block, and half pass residual 3x3 convolutions ("Practical blind denoising via Swin-Conv-UNet and data
    synthesis"). It returns the image itself, not the noise. Blind. With the defaults: 17.9 M parameters; a receptive
    field of several hundred pixels. Not homogeneous: it normalises. Images of any size are continued by their border
    pixels to multiples of 64, so small ones cost as much as 64x64.

    Parameters
    ----------
    channels
        Channels of the images.
    width
        Channels of the finest scale, a multiple of 64; each scale doubles them.
    blocks
        Blocks of a scale, on the way down and on the way up.
    weights
        File of weights to start from; null for random ones. They need ``initialisation: own`` in training.
    """

    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=64, multiple_of=64)] = 64,
        blocks: Annotated[int, Field(ge=1)] = 4,
        weights: Annotated[str | None, File()] = None,
    ) -> None:
        super().__init__()
        self.network = build("SCUNet", weights, in_nc=channels, config=(blocks,) * 7, dim=width, device=None)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); blind, so ``sigma`` is not used."""
        denoised: Tensor = self.network(noisy)
        return denoised
