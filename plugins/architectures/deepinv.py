"""Networks of the package deepinv: six with parameters named as elsewhere here, and any other by its name."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from gahbench import File

from .._papers import HURAULT_2022, LIANG_2021, SONG_2021, TACHELLA_2025, ZAMIR_2022, ZHANG_2021, ZHANG_2023
from ._arguments import as_mapping, as_text
from ._deepinv import Through, build, denoiser
from ._inputs import need_multiples, padded

#: ``ncsnpp`` takes the logarithm of the noise level; lower ones are taken for this one.
LOWEST = 1e-4
Positive = Annotated[int, Field(ge=1)]
Depth = Annotated[int, Field(ge=1, le=1000)]


class Deepinv(Through):
    """Any trainable denoiser of the package deepinv, of Tachella et al., JOSS 2025; needs the extra deepinv.

    ``deepinv[DnCNN,arguments='{depth: 17, bias: false}']``. It is called as deepinv documents it: images in [0, 1],
    sigma in the same units, the image returned ("DeepInverse: a Python package for solving imaging inverse problems
    with deep learning"). The documentation of its class has the citation, the accepted sizes of images, and
    whether it uses sigma. Weights are random: published ones are a file, the ``checkpoint`` of any architecture, and
    nothing is downloaded. For GSDRUNet, which is no class, there is ``gs-drunet``.

    Parameters
    ----------
    channels
        Channels of the images.
    shape
        Shape (C, H, W) of the images, for a network of one image size.
    model
        Name of a class in ``deepinv.models``: a denoiser with weights to train, whose ``forward`` takes an image and
        sigma. An error lists those of the installed version.
    arguments
        Further arguments of its constructor: a mapping of plain values, or a text that says it. The channels of the
        images are filled in.
    """

    citation = TACHELLA_2025

    def __init__(
        self,
        channels: int,
        shape: tuple[int, int, int] | None,
        model: str,
        arguments: Annotated[str, BeforeValidator(as_text)] = "{}",
    ) -> None:
        super().__init__()
        self.network = denoiser(model, as_mapping(arguments), channels, shape)


class DRUNet(Through):
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

    citation = ZHANG_2021
    label_parameters = ("width",)
    multiple, min_side = 8, 32

    def __init__(
        self, channels: int, width: Positive = 64, blocks: Depth = 4, weights: Annotated[str | None, File()] = None
    ) -> None:
        super().__init__()
        widths = _doubled(width)
        self.network = build("DRUNet", weights, in_channels=channels, out_channels=channels, nc=widths, nb=blocks)


class GSDRUNet(Through):
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

    citation = HURAULT_2022
    label_parameters = ("width",)
    multiple, min_side = 8, 32

    def __init__(
        self, channels: int, width: Positive = 64, blocks: Depth = 2, weights: Annotated[str | None, File()] = None
    ) -> None:
        super().__init__()
        widths = _doubled(width)
        self.network = build("GSDRUNet", weights, in_channels=channels, out_channels=channels, nc=widths, nb=blocks)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) whose noise has standard deviations ``sigma``, shape (N,)."""
        images = padded(noisy, self.multiple, self.min_side)
        found: Any = torch.func.vjp(lambda moved: self.network.student_grad(moved, sigma), images)
        estimate, pull_back = found
        # As deepinv's own forward; through torch.func it can be trained, and differentiated again.
        (pulled,) = pull_back(images - estimate)
        denoised: Tensor = estimate + pulled
        return denoised[..., : noisy.shape[-2], : noisy.shape[-1]]


class SwinIR(Through):
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
            # Masks of shifted windows are kept for images of 128x128, as in published weights, and computed for others.
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


class Restormer(Through):
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


class SCUNet(Through):
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


class NCSNpp(Through):
    """NCSN++, the UNet of diffusion models, of Song et al., ICLR 2021; needs the extra deepinv.

    Residual blocks with group normalisation, conditioned on the noise level by Fourier features, self-attention at one
    of the scales, and the noisy image, filtered, added at each scale on the way down ("Score-based generative modeling
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
        # The resolution only names the scales.
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
        return super().forward(noisy, sigma.clamp_min(LOWEST))


def _doubled(width: int) -> tuple[int, int, int, int]:
    """Return the channels of four scales, each twice those of the one before."""
    return width, 2 * width, 4 * width, 8 * width
