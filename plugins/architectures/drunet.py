"""The residual UNet of plug-and-play restoration, from deepinv."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from gahbench import File

from ._sides import padded
from ._through_deepinv import build


class DRUNet(nn.Module):
    """Bias-free UNet of residual blocks with a noise level map, of Zhang et al., TPAMI 2021; needs the extra deepinv.

    Four scales, 2x2 strided convolutions down and transposed ones up, added skips ("Plug-and-play image restoration
    with deep denoiser prior"). It returns the image itself, not the noise, from the noisy image and a map of sigma
    as a further channel. With the defaults: 32.6 M parameters and a receptive field of about 370 pixels. Homogeneous
    in the image and sigma together. Images of any size are continued by their border pixels to multiples of 8, and to
    at least 32. Published grey and colour weights are those of the defaults.

    Parameters
    ----------
    channels
        Channels of the images.
    width
        Channels of the finest scale; each scale doubles them.
    blocks
        Residual blocks of a scale, on the way down and on the way up.
    weights
        File of weights to start from; null for random ones. They need ``initialisation: own`` in training.
    """

    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 64,
        blocks: Annotated[int, Field(ge=1)] = 4,
        weights: Annotated[str | None, File()] = None,
    ) -> None:
        super().__init__()
        widths = tuple(width * 2**scale for scale in range(4))
        self.network = build(
            "DRUNet", weights, in_channels=channels, out_channels=channels, nc=widths, nb=blocks, device=None
        )

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) whose noise has standard deviations ``sigma``, shape (N,)."""
        denoised: Tensor = self.network(padded(noisy, 8, least=32), sigma)
        return denoised[..., : noisy.shape[-2], : noisy.shape[-1]]
