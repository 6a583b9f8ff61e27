"""The gradient-step denoiser, from deepinv."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from gahbench import File

from ._sides import padded
from ._through_deepinv import build


class GSDRUNet(nn.Module):
    """Gradient-step denoiser, whose Jacobian is symmetric, of Hurault et al., ICLR 2022; needs the extra deepinv.

    It takes a step down the gradient of the potential g(y) = |y - N(y)|^2 / 2, where N is a DRUNet with ELU: the
    denoised image is y - (y - N(y)) + J^T (y - N(y)), J the Jacobian of N. Like a posterior mean it is then the
    gradient of a function ("Gradient step denoiser for convergent plug-and-play"), but for images
    whose sides are not multiples of 8, of at least 32, which are continued by their border pixels. A pass costs about
    three of N. With the defaults: 17.0 M parameters and a receptive field of about 380 pixels. Not homogeneous.

    Parameters
    ----------
    channels
        Channels of the images.
    width
        Channels of the finest scale of N; each scale doubles them.
    blocks
        Residual blocks of a scale of N, on the way down and on the way up.
    weights
        File of weights to start from; null for random ones. They need ``initialisation: own`` in training.
    """

    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=1)] = 64,
        blocks: Annotated[int, Field(ge=1)] = 2,
        weights: Annotated[str | None, File()] = None,
    ) -> None:
        super().__init__()
        widths = tuple(width * 2**scale for scale in range(4))
        self.network = build(
            "GSDRUNet", weights, in_channels=channels, out_channels=channels, nc=widths, nb=blocks, device=None
        )

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) whose noise has standard deviations ``sigma``, shape (N,)."""
        images = padded(noisy, 8, least=32)
        found: Any = torch.func.vjp(lambda moved: self.network.student_grad(moved, sigma), images)
        estimate, pull_back = found
        # What deepinv's own forward computes; through torch.func it can be trained, and differentiated again.
        (pulled,) = pull_back(images - estimate)
        denoised: Tensor = estimate + pulled
        return denoised[..., : noisy.shape[-2], : noisy.shape[-1]]
