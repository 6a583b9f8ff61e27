"""Networks of the package deepinv: six with the usual parameters of gahbench, and any other by its class name."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from gahbench import File

from .._papers import HURAULT_2022, LIANG_2021, SONG_2021, TACHELLA_2025, ZAMIR_2022, ZHANG_2021, ZHANG_2023
from ._arguments import as_mapping, as_text
from ._deepinv import DeepinvNetwork, build, build_denoiser
from ._inputs import need_multiples, pad_to_multiple

#: Lower bound of noise levels for ``ncsnpp``, which takes their logarithm.
MIN_SIGMA = 1e-4
Positive = Annotated[int, Field(ge=1)]
Depth = Annotated[int, Field(ge=1, le=1000)]


class Deepinv(DeepinvNetwork):
    """Any trainable denoiser of the package deepinv (Tachella et al., JOSS 2025); needs the extra ``deepinv``.

    An example is ``deepinv[DnCNN,arguments='{depth: 17, bias: false}']``. The denoiser is called with images in [0, 1]
    and sigma in the same units, and returns the denoised image. The documentation of its class has the citation, the
    accepted image sizes, and whether it uses sigma. Weights are random, and nothing is downloaded; published weights
    are loaded from a file with the ``checkpoint`` of any architecture. GSDRUNet, which is not a class, is available as
    ``gs-drunet``.

    Parameters
    ----------
    channels
        Number of image channels.
    shape
        Shape (C, H, W) of the images, for networks with a fixed image size.
    model
        Name of a class in ``deepinv.models``: a denoiser with trainable weights whose ``forward`` takes an image and
        sigma. The error for an unknown name lists the names in the installed version.
    arguments
        Further constructor arguments: a mapping of plain values, or its YAML text. The number of image channels is
        set automatically.
    """

    display_name = "{model} of deepinv"
    citation = TACHELLA_2025

    def __init__(
        self,
        channels: int,
        shape: tuple[int, int, int] | None,
        model: str,
        arguments: Annotated[str, BeforeValidator(as_text)] = "{}",
    ) -> None:
        super().__init__()
        self.network = build_denoiser(model, as_mapping(arguments), channels, shape)


class DRUNet(DeepinvNetwork):
    """Bias-free UNet with residual blocks and a noise level map (Zhang et al., TPAMI 2021); needs ``deepinv``.

    DRUNet has four scales, with 2x2 strided convolutions for downsampling, 2x2 transposed convolutions for upsampling,
    and additive skip connections. It estimates the image, not the noise, from the noisy image and a map of sigma as an
    additional channel. It is homogeneous in the image and sigma together. With the defaults it has 32.6 M parameters
    and a receptive field of about 370 pixels. Images of any size are padded by repeating border pixels to multiples of
    8, and to at least 32 pixels. The published grey and colour weights fit the defaults.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels at the finest scale; it doubles at each scale.
    blocks
        Number of residual blocks per scale, in the encoder and in the decoder.
    weights
        File of initial weights, which need ``initialisation: own`` in training; ``null`` for random weights.
    """

    display_name = "DRUNet"
    citation = ZHANG_2021
    label_parameters = ("width",)
    multiple, min_side = 8, 32

    def __init__(
        self, channels: int, width: Positive = 64, blocks: Depth = 4, weights: Annotated[str | None, File()] = None
    ) -> None:
        super().__init__()
        widths = _doubled_widths(width)
        self.network = build("DRUNet", weights, in_channels=channels, out_channels=channels, nc=widths, nb=blocks)


class GSDRUNet(DeepinvNetwork):
    """Gradient-step denoiser with a symmetric Jacobian (Hurault et al., ICLR 2022); needs ``deepinv``.

    The denoiser is a gradient descent step on the potential g(y) = |y - N(y)|^2 / 2, where N is a DRUNet with ELU: the
    denoised image is y - (y - N(y)) + J^T (y - N(y)) with the Jacobian J of N. Like a posterior mean it is the gradient
    of a function. This does not hold for images that are padded by repeating border pixels: images whose sides are not
    multiples of 8, or are below 32 pixels. A forward pass costs about as much as three passes of N. With the defaults
    the denoiser has 17.0 M parameters and a receptive field of about 380 pixels. It is not homogeneous.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels of N at the finest scale; it doubles at each scale.
    blocks
        Number of residual blocks of N per scale, in the encoder and in the decoder.
    weights
        File of initial weights, which need ``initialisation: own`` in training; ``null`` for random weights.
    """

    display_name = "GS-DRUNet"
    citation = HURAULT_2022
    label_parameters = ("width",)
    multiple, min_side = 8, 32

    def __init__(
        self, channels: int, width: Positive = 64, blocks: Depth = 2, weights: Annotated[str | None, File()] = None
    ) -> None:
        super().__init__()
        widths = _doubled_widths(width)
        self.network = build("GSDRUNet", weights, in_channels=channels, out_channels=channels, nc=widths, nb=blocks)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) whose noise has standard deviations ``sigma``, shape (N,)."""
        images = pad_to_multiple(noisy, self.multiple, self.min_side)
        # This equals the forward of deepinv; with torch.func it can be trained and differentiated again.
        value_and_vjp: Any = torch.func.vjp(lambda inputs: self.network.student_grad(inputs, sigma), images)
        estimate, vjp = value_and_vjp
        (product,) = vjp(images - estimate)
        denoised: Tensor = estimate + product
        return denoised[..., : noisy.shape[-2], : noisy.shape[-1]]


class SwinIR(DeepinvNetwork):
    """Groups of Swin transformer blocks at full resolution (Liang et al., ICCVW 2021); needs ``deepinv``.

    SwinIR consists of a convolution, groups of transformer blocks with attention within windows, a convolution after
    each group, and a last convolution, whose output is added to the noisy image. Windows are shifted by half their side
    in every second block. The network is blind; published weights fit the defaults, and each file of weights is for a
    single noise level. With the defaults it has 11.5 M parameters and a receptive field of at most 306 pixels. It is
    not homogeneous, because of normalisation. Images may have any size of at least ``window``, and are padded by
    reflection to multiples of ``window``.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Dimension of tokens; there is one token per pixel.
    groups
        Number of groups of blocks.
    blocks
        Number of blocks per group.
    heads
        Number of attention heads, a divisor of ``width``.
    window
        Side of a window in pixels.
    weights
        File of initial weights, which need ``initialisation: own`` in training; ``null`` for random weights.
    """

    display_name = "SwinIR"
    citation = LIANG_2021
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Positive = 180,
        groups: Depth = 6,
        blocks: Depth = 6,
        heads: Positive = 6,
        window: Annotated[int, Field(ge=2, le=64)] = 8,
        weights: Annotated[str | None, File()] = None,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads={heads} must divide width={width}")
        self.window = window
        self.network = build(
            "SwinIR",
            weights,
            in_chans=channels,
            # Masks are stored for images of 128x128, as in published weights, and computed for other sizes.
            img_size=128 // window * window,
            embed_dim=width,
            depths=(blocks,) * groups,
            num_heads=(heads,) * groups,
            window_size=window,
        )

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); blind, so ``sigma`` is not used."""
        height, width = noisy.shape[-2:]
        if min(height, width) < self.window:
            raise ValueError(f"swinir needs image sides of at least window={self.window}, not {height}x{width}")
        return super().forward(noisy, sigma)


class Restormer(DeepinvNetwork):
    """Transformer on four scales with attention between channels (Zamir et al., CVPR 2022); needs ``deepinv``.

    Attention weights channels by their correlation over the whole image, with depthwise convolutions and gated
    perceptrons. The network is blind, and estimates a residual that is added to the noisy image. With the defaults it
    has 26.1 M parameters. The receptive field is global. Images of any size are padded by repeating border pixels to
    multiples of 8. The published weights for blind Gaussian denoising fit the defaults.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels at the finest scale; it doubles at each scale.
    blocks
        Number of blocks at each of the four scales, finest first.
    refinement
        Number of additional blocks at the end.
    bias
        Whether to use biased convolutions, and normalisation that also subtracts the mean.
    weights
        File of initial weights, which need ``initialisation: own`` in training; ``null`` for random weights.
    """

    display_name = "Restormer"
    citation = ZAMIR_2022
    label_parameters = ("width",)
    multiple = 8

    def __init__(
        self,
        channels: int,
        width: Positive = 48,
        blocks: tuple[Depth, Depth, Depth, Depth] = (4, 6, 6, 8),
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


class SCUNet(DeepinvNetwork):
    """UNet of blocks that combine Swin transformer and convolution (Zhang et al., MIR 2023); needs ``deepinv``.

    Like DRUNet, SCUNet has four scales. In each block half of the channels pass through attention within 8x8 windows,
    which are shifted by half their side in every second block. The other half pass through residual 3x3 convolutions.
    The network is blind, and estimates the image, not the noise. With the defaults it has 17.9 M parameters and a
    receptive field of several hundred pixels. It is not homogeneous, because of normalisation. Images of any size are
    padded by repeating border pixels to multiples of 64, so small images cost as much as images of 64x64.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels at the finest scale, a multiple of 64; it doubles at each scale.
    blocks
        Number of blocks per scale, in the encoder and in the decoder.
    weights
        File of initial weights, which need ``initialisation: own`` in training; ``null`` for random weights.
    """

    display_name = "SCUNet"
    citation = ZHANG_2023
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=64, multiple_of=64)] = 64,
        blocks: Depth = 4,
        weights: Annotated[str | None, File()] = None,
    ) -> None:
        super().__init__()
        self.network = build("SCUNet", weights, in_nc=channels, config=(blocks,) * 7, dim=width)


class NCSNpp(DeepinvNetwork):
    """NCSN++, a UNet of diffusion models (Song et al., ICLR 2021); needs the extra ``deepinv``.

    NCSN++ has residual blocks with group normalisation, conditioned on the noise level by Fourier features, and
    self-attention at one scale. The filtered noisy image is added at each scale of the encoder. Input and output are
    scaled with the noise level as in Karras et al., NeurIPS 2022 (table 1), for images of standard deviation 1/4. With
    the defaults it has 2.5 M parameters. The receptive field is global, through attention and group normalisation. It
    is not homogeneous.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels at the finest scale, a multiple of 32.
    multipliers
        Number of channels at each scale divided by ``width``, finest first; image sides must be multiples of
        2^(scales - 1).
    blocks
        Number of residual blocks per scale.
    attention
        Index of the scale with self-attention, where 0 is the finest; ``null`` for no attention.
    dropout
        Probability of dropping an activation in training, in [0, 1).
    """

    display_name = "NCSN++"
    citation = SONG_2021
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Annotated[int, Field(ge=32, multiple_of=32)] = 32,
        multipliers: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 2, 2),
        blocks: Depth = 2,
        attention: Annotated[int, Field(ge=0)] | None = 2,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        scales = len(multipliers)
        if attention is not None and attention >= scales:
            raise ValueError(f"attention={attention}: there are {scales} scales, counted from 0")
        # deepinv identifies scales by their resolution.
        self.resolution = 2 ** (scales - 1)
        self.network = build(
            "NCSNpp",
            None,
            img_resolution=self.resolution,
            in_channels=channels,
            out_channels=channels,
            augment_dim=0,
            model_channels=width,
            channel_mult=multipliers,
            num_blocks=blocks,
            attn_resolutions=() if attention is None else (self.resolution >> attention,),
            dropout=dropout,
            pixel_std=0.25,
        )

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) whose noise has standard deviations ``sigma``, shape (N,)."""
        need_multiples(noisy, self.resolution, f"ncsnpp with {self.resolution.bit_length()} scales")
        return super().forward(noisy, sigma.clamp_min(MIN_SIGMA))


def _doubled_widths(width: int) -> tuple[int, int, int, int]:
    """Return the numbers of channels at four scales."""
    return width, 2 * width, 4 * width, 8 * width
