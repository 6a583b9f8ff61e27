"""Restoration by Swin transformers, from deepinv."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from gahbench import File

from ._through_deepinv import build


class SwinIR(nn.Module):
    """Groups of Swin transformer blocks at full resolution, of Liang et al., ICCVW 2021; needs the extra deepinv.

    A convolution, groups of blocks that attend within windows, shifted by half in every second one, with a convolution
    after each group, and a last convolution, added to the noisy image ("SwinIR: image restoration using Swin
    transformer"). Blind; published weights are for one noise level each, given to the defaults. With the defaults:
    11.5 M parameters; a receptive field of at most 306 pixels. Not homogeneous: it normalises. Images of any size of at
    least ``window`` are continued by reflection to multiples of it.

    Parameters
    ----------
    channels
        Channels of the images.
    width
        Numbers in a token, one for each pixel.
    groups
        Groups of blocks.
    blocks
        Blocks of a group.
    heads
        Attention heads, which must divide the width.
    window
        Side of a window in pixels.
    weights
        File of weights to start from; null for random ones. They need ``initialisation: own`` in training.
    """

    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 180,
        groups: Annotated[int, Field(ge=1)] = 6,
        blocks: Annotated[int, Field(ge=1)] = 6,
        heads: Annotated[int, Field(ge=1)] = 6,
        window: Annotated[int, Field(ge=2, le=64)] = 8,
        weights: Annotated[str | None, File()] = None,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads={heads} must divide width={width}")
        self.window = window
        # Masks of shifted windows are kept for images of 128x128, as in published weights, and computed for others.
        self.network = build(
            "SwinIR",
            weights,
            in_chans=channels,
            img_size=128 // window * window,
            embed_dim=width,
            depths=(blocks,) * groups,
            num_heads=(heads,) * groups,
            window_size=window,
        )

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); blind, so ``sigma`` is not used.

        Raises
        ------
        ValueError
            If a side is smaller than a window.
        """
        height, width = noisy.shape[-2:]
        if min(height, width) < self.window:
            raise ValueError(f"swinir needs image sides of at least window={self.window}, not {height}x{width}")
        denoised: Tensor = self.network(noisy)
        return denoised
