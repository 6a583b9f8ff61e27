"""The noise-conditional score network of diffusion models, from deepinv."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ._sides import need_multiples
from ._through_deepinv import build

#: Lower noise levels are taken for this one: the network is told their logarithm.
LOWEST = 1e-4


class NCSNpp(nn.Module):
    """NCSN++, the UNet of diffusion models, of Song et al., ICLR 2021; needs the extra deepinv.

    Residual blocks with group normalisation, told of the noise level by Fourier features, self-attention at one of
    the scales, and the noisy image, filtered, added at each scale on the way down ("Score-based generative modeling
    through stochastic differential equations"). Input and output are scaled by the noise level as Karras et al.,
    NeurIPS 2022, do (their table 1), for images of standard deviation 1/4. With the defaults: 2.5 M parameters; the
    receptive field is global, by attention and by group normalisation. Not homogeneous.

    Parameters
    ----------
    channels
        Channels of the images.
    width
        Channels of the finest scale, a multiple of 32.
    multipliers
        Channels of each scale over the width, finest first; image sides must be multiples of 2^(scales - 1).
    blocks
        Residual blocks of a scale.
    attention
        Scale that attends, counted from 0, the finest; null for none.
    dropout
        Probability that an activation is dropped in training.
    """

    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=32, multiple_of=32)] = 32,
        multipliers: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 2, 2),
        blocks: Annotated[int, Field(ge=1)] = 2,
        attention: Annotated[int, Field(ge=0)] | None = 2,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.multiple = 2 ** (len(multipliers) - 1)
        if attention is not None and attention >= len(multipliers):
            raise ValueError(f"attention={attention}: there are {len(multipliers)} scales, counted from 0")
        # The resolution only names the scales.
        self.network = build(
            "NCSNpp",
            None,
            img_resolution=self.multiple,
            in_channels=channels,
            out_channels=channels,
            augment_dim=0,
            model_channels=width,
            channel_mult=multipliers,
            num_blocks=blocks,
            attn_resolutions=() if attention is None else (self.multiple >> attention,),
            dropout=dropout,
            pixel_std=0.25,
            device=None,
        )

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) whose noise has standard deviations ``sigma``, shape (N,).

        Raises
        ------
        ValueError
            If 2^(scales - 1) does not divide the height and the width.
        """
        need_multiples(noisy, self.multiple, f"ncsnpp with {self.multiple.bit_length()} scales")
        denoised: Tensor = self.network(noisy, sigma.clamp_min(LOWEST))
        return denoised
