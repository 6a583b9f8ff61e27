"""The restoration transformer, from deepinv."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from gahbench import File

from ._sides import padded
from ._through_deepinv import build


class Restormer(nn.Module):
    """Transformer on four scales that attends across channels, of Zamir et al., CVPR 2022; needs the extra deepinv.

    Attention weighs channels against each other by their correlation over the whole image, with depthwise convolutions
    and gated perceptrons ("Restormer: efficient transformer for high-resolution image restoration"). The network
    estimates the residual, which is added to the noisy image. Blind. With the defaults: 26.1 M parameters; the
    receptive field is global. Images of any size are continued by their border pixels to multiples of 8. Published
    weights of blind Gaussian denoising are those of the defaults.

    Parameters
    ----------
    channels
        Channels of the images.
    width
        Channels of the finest scale; each scale doubles them.
    blocks
        Blocks of each of the four scales, finest first.
    refinement
        Further blocks at the end.
    bias
        Whether to add constants: in convolutions, and in normalisation, which then subtracts the mean as well.
    weights
        File of weights to start from; null for random ones. They need ``initialisation: own`` in training.
    """

    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 48,
        blocks: tuple[
            Annotated[int, Field(ge=1)],
            Annotated[int, Field(ge=1)],
            Annotated[int, Field(ge=1)],
            Annotated[int, Field(ge=1)],
        ] = (4, 6, 6, 8),
        refinement: Annotated[int, Field(ge=0)] = 4,
        bias: bool = False,
        weights: Annotated[str | None, File()] = None,
    ) -> None:
        super().__init__()
        self.network = build(
            "Restormer",
            weights,
            in_channels=channels,
            out_channels=channels,
            dim=width,
            num_blocks=blocks,
            num_refinement_blocks=refinement,
            bias=bias,
            LayerNorm_type="WithBias" if bias else "BiasFree",
        )

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); blind, so ``sigma`` is not used."""
        denoised: Tensor = self.network(padded(noisy, 8))
        return denoised[..., : noisy.shape[-2], : noisy.shape[-1]]
