"""Chains of convolutions that estimate the noise: DnCNN, its bias-free variants, and FFDNet."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from gahbench_plugins.architectures.layers import (
    append_noise_level,
    convolution,
    initialise_layers,
    pad_to_multiple,
    residual_output,
)

Width = Annotated[int, Field(ge=1)]
Layers = Annotated[int, Field(ge=2, le=1000)]


class Chain(nn.Module):
    """Chain that estimates the noise: convolution, ReLU; (convolution, normalisation, ReLU); convolution.

    The middle block is repeated ``layers - 2`` times. The input is the image, with a map of the noise level unless the
    network is blind.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        layers: int,
        *,
        bias: bool,
        norm: bool,
        blind: bool,
        spacing: int = 1,
        first_relu: bool = True,
    ) -> None:
        super().__init__()
        self.blind = blind
        modules = convolution(inputs + (not blind), width, bias=bias, norm=False)[: 2 if first_relu else 1]
        for number in range(1, layers - 1):
            modules += convolution(width, width, bias=bias, norm=norm, side=1 if number % spacing else 3)
        self.layers = nn.Sequential(*modules, residual_output(width, inputs, bias=bias))
        if not norm:
            initialise_layers(self.layers)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) with noise levels of shape (N,)."""
        denoised: Tensor = noisy - self.layers(noisy if self.blind else append_noise_level(noisy, sigma))
        return denoised


class DnCNN(Chain):
    """DnCNN of Zhang, Zuo, Chen, Meng & Zhang, IEEE Transactions on Image Processing 2017.

    A chain of 3x3 convolutions with batch normalisation and ReLU estimates the noise, which ``forward`` subtracts. The
    first and the last convolution have no normalisation. The receptive field is 2 layers + 1 pixels. The publication
    has networks for grey images with 17 layers for a single noise level (0.556 M parameters, receptive field of 35
    pixels), and with 20 layers for unknown noise levels (0.667 M parameters, 41 pixels), which is the default. Images
    may have any size.

    Convolutions before a normalisation have no bias, which the normalisation would remove; parameter counts that
    include these biases are larger by width (layers - 2). With ``bias=false`` the network is the bias-free DnCNN of
    Mohan et al., ICLR 2020.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels of the hidden layers.
    layers
        Number of convolutions.
    bias
        Whether to use additive constants; without constants the normalisation is bias-free, and the network
        homogeneous.
    norm
        Whether to use normalisation layers.
    blind
        Whether to ignore the noise level; otherwise a map of it is an additional input channel.
    """

    display_name = "DnCNN"
    citation = "zhang-2017"
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Width = 64,
        layers: Layers = 20,
        bias: bool = True,
        norm: bool = True,
        blind: bool = True,
    ) -> None:
        super().__init__(channels, width, layers, bias=bias, norm=norm, blind=blind)


class BFCNN(Chain):
    """Bias-free CNN of Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda, ICLR 2020.

    A chain of 3x3 convolutions with bias-free normalisation and ReLU estimates the noise, which ``forward`` subtracts.
    The first and the last convolution have no normalisation. With the defaults the network is blind, and has 0.7 M
    parameters and a receptive field of 43 pixels. Images may have any size.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels of the hidden layers.
    layers
        Number of convolutions.
    bias
        Whether to use biased convolutions and ordinary batch normalisation.
    norm
        Whether to use normalisation layers.
    blind
        Whether to ignore the noise level; otherwise a map of it is an additional input channel.
    """

    display_name = "BF-CNN"
    citation = "mohan-2020"
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Width = 64,
        layers: Layers = 21,
        bias: bool = False,
        norm: bool = True,
        blind: bool = True,
    ) -> None:
        super().__init__(channels, width, layers, bias=bias, norm=norm, blind=blind)


class BFCNNRF(Chain):
    """Blind bias-free CNN with adjustable receptive field of Kadkhodaie, Guth, Simoncelli & Mallat, ICLR 2024.

    The network differs from ``bf-cnn`` in two points: there is no ReLU after the first convolution, and some kernels
    may be 1x1. It is BF_CNN (spacing 1) or BF_CNN_RF of the published code. With the defaults it has 0.7 M parameters
    and a receptive field of 43 pixels. With 21 layers, spacings of 1, 2, 4, 8 and 20 give receptive fields of 43, 23,
    13, 9 and 5 pixels. Images may have any size.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels of the hidden layers.
    layers
        Number of convolutions.
    spacing
        Every ``spacing``-th hidden convolution has a 3x3 kernel, and the other hidden convolutions have 1x1 kernels.
        The first and the last convolution always have 3x3 kernels. The receptive field is 2 (2 + (layers - 2) //
        spacing) + 1 pixels.
    """

    display_name = "BF-CNN of Kadkhodaie et al."
    citation = "kadkhodaie-2024"
    label_parameters = ("width",)

    def __init__(
        self, channels: int, width: Width = 64, layers: Layers = 21, spacing: Annotated[int, Field(ge=1)] = 1
    ) -> None:
        super().__init__(channels, width, layers, bias=False, norm=True, blind=True, spacing=spacing, first_relu=False)


class FFDNet(Chain):
    """FFDNet of Zhang, Zuo & Zhang, IEEE Transactions on Image Processing 2018.

    Pixel-unshuffle turns 2x2 cells of pixels into channels, and a map of the noise level is an additional channel. A
    chain of 3x3 convolutions with batch normalisation and ReLU works at half the resolution. The receptive field is 4
    layers + 2 pixels. The defaults are the published parameters for grey images: not blind, with 0.486 M parameters and
    a receptive field of 62 pixels. The publication uses width=96 and layers=12 for colour images: 0.853 M parameters
    and a receptive field of 50 pixels. Images may have any size; odd sides are padded by repeating the last pixels, and
    the result is cropped.

    The layers estimate the noise, which ``forward`` subtracts, so that training starts near the identity; the published
    network estimates the image. Convolutions before a normalisation have no bias, and the published parameter counts do
    not include biases.

    Parameters
    ----------
    channels
        Number of image channels.
    width
        Number of channels of the hidden layers.
    layers
        Number of convolutions.
    bias
        Whether to use additive constants; without constants the normalisation is bias-free, and the network
        homogeneous.
    norm
        Whether to use normalisation layers.
    blind
        Whether to ignore the noise level; otherwise a map of it is an additional input channel.
    """

    display_name = "FFDNet"
    citation = "zhang-2018"
    label_parameters = ("width",)

    def __init__(
        self,
        channels: int,
        width: Width = 64,
        layers: Layers = 15,
        bias: bool = True,
        norm: bool = True,
        blind: bool = False,
    ) -> None:
        super().__init__(4 * channels, width, layers, bias=bias, norm=norm, blind=blind)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) with noise levels of shape (N,)."""
        cells = functional.pixel_unshuffle(pad_to_multiple(noisy, 2), 2)
        denoised = functional.pixel_shuffle(super().forward(cells, sigma), 2)
        return denoised[..., : noisy.shape[-2], : noisy.shape[-1]]
