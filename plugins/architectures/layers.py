"""Layers, and preparations of the input, that several architectures share."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

#: Lower bound of embedded noise levels, which keeps the logarithm finite at 0.
MIN_SIGMA = 1e-4


class BiasFreeNorm(nn.Module):
    """Division of each channel by its batch standard deviation, followed by a learned gain.

    No mean is subtracted and no offset is added. A network of ReLU and convolutions without bias is then homogeneous of
    degree 1 in evaluation mode (Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda, ICLR 2020, section 4). Evaluation
    mode uses running averages of the standard deviation.
    """

    running_deviation: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.epsilon = epsilon
        self.gain = nn.Parameter(torch.ones(channels))
        self.register_buffer("running_deviation", torch.ones(channels))

    def draw_gain(self) -> None:
        """Draw small gains, as the code of Kadkhodaie et al. 2024 does, which the training recipe ``paper`` follows."""
        with torch.no_grad():
            self.gain.normal_(std=2 / 9 / 64).clamp_(-0.025, 0.025)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features of shape (N, C, H, W)."""
        normalised: Tensor
        if not self.training:
            return _scale(features, self.gain / self.running_deviation)
        has_kernels = features.dtype in (self.gain.dtype, torch.bfloat16, torch.float16) and not features.is_meta
        if has_kernels and not torch.compiler.is_compiling():
            # The kernels of batch normalisation make training steps of a UNet 8 to 25 % faster.
            normalised, deviation = _Normalise.apply(features, self.gain, self.epsilon)  # type: ignore[no-untyped-call]
        else:
            variance: Tensor = features.var(dim=(0, 2, 3), correction=0).to(self.gain.dtype)
            deviation = (variance + self.epsilon).sqrt()
            normalised = _scale(features, self.gain / deviation)
        with torch.no_grad():
            self.running_deviation.lerp_(deviation, self.momentum)
        return normalised


class _Normalise(torch.autograd.Function):
    """Normalised features and their standard deviation, with a faster backward pass."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, gain: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        # Running values in the precision of the gain make torch compute statistics of bfloat16 features in float32.
        running = torch.zeros_like(gain), torch.ones_like(gain)
        mean, variance = torch.batch_norm_update_stats(features, *running, 0.0)
        deviation = (variance + epsilon).sqrt()
        ctx.save_for_backward(features, gain, mean, deviation)
        ctx.mark_non_differentiable(deviation)
        return _scale(features, gain / deviation), deviation

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None]:
        features, gain, mean, deviation = ctx.saved_tensors
        _, centred, total = torch.ops.aten.native_batch_norm_backward(
            gradient, features, torch.ones_like(gain), None, None, mean, 1 / deviation, True, 0.0, [False, True, True]
        )
        # Sum of gradient * features for each channel, divided by the deviation.
        product = centred + mean * total / deviation
        slope = -gain * product / (deviation.square() * (features.numel() // features.shape[1]))
        inner = torch.addcmul(_per_channel(-slope * mean, features), features, _per_channel(slope, features))
        return inner.addcmul_(gradient, _per_channel(gain / deviation, features)), product, None


def _scale(features: Tensor, factors: Tensor) -> Tensor:
    return features * _per_channel(factors, features)


def _per_channel(values: Tensor, features: Tensor) -> Tensor:
    return values.to(features.dtype).view(1, -1, 1, 1)


def convolution(inputs: int, outputs: int, *, bias: bool, norm: bool = True, side: int = 3) -> list[nn.Module]:
    """Return a convolution with a kernel of odd side, an optional normalisation, and ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=bias and not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(outputs) if bias else BiasFreeNorm(outputs))
    return [*layers, nn.ReLU(inplace=True)]


def residual_output(inputs: int, outputs: int, *, bias: bool) -> nn.Conv2d:
    """Return the last 3x3 convolution of a network that estimates the noise.

    The initial weights are a hundred times smaller than usual, so that training starts near the identity. Errors
    divided by sigma^2 are then 1 at every noise level, and a large initial loss does not dominate the second moments of
    Adam.
    """
    last = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(0.01)
    return last


def initialise_layers(network: nn.Module) -> None:
    """Initialise the weights of all layers except the last as in He, Zhang, Ren & Sun, ICCV 2015."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    for layer in layers[:-1]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def need_multiples(images: Tensor, multiple: int, network: str) -> None:
    """Raise ``ValueError`` if the sides of images (N, C, H, W) are not multiples of ``multiple``."""
    height, width = images.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(f"{network} needs image sides that are multiples of {multiple}, not {height}x{width}")


def need_shape(images: Tensor, shape: tuple[int, int, int], network: str) -> None:
    """Raise ``ValueError`` if images (N, C, H, W) do not have the shape (C, H, W) of the network."""
    if tuple(images.shape[1:]) != tuple(shape):
        expected, actual = ("x".join(map(str, sizes)) for sizes in (shape, images.shape[1:]))
        raise ValueError(f"{network} was built for images of {expected} (channels, height, width) only, not {actual}")


def pad_to_multiple(images: Tensor, multiple: int, min_side: int = 1) -> Tensor:
    """Pad images (N, C, H, W) below and to the right by repeating border pixels."""
    below, right = (next_multiple(max(side, min_side), multiple) - side for side in images.shape[-2:])
    return functional.pad(images, (0, right, 0, below), mode="replicate") if below or right else images


def next_multiple(side: int, multiple: int) -> int:
    """Return the smallest multiple of ``multiple`` that is at least ``side``."""
    return -(-side // multiple) * multiple


def append_noise_level(images: Tensor, sigma: Tensor) -> Tensor:
    """Append a constant map of the noise level as a channel (Zhang, Zuo & Zhang, TIP 2018, section III-B)."""
    level = sigma.to(images.dtype).view(-1, 1, 1, 1).expand(len(images), 1, *images.shape[-2:])
    return torch.cat([images, level], dim=1)


class NoiseEmbedding(nn.Module):
    """Embedding of the noise level: Fourier features of log sigma, and two linear layers with SiLU.

    Ho, Jain & Abbeel, NeurIPS 2020, embed the diffusion time in this way, and Song et al., ICLR 2021, log sigma.
    """

    def __init__(self, width: int, frequencies: int = 16) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.layers = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, sigma: Tensor) -> Tensor:
        """Return embeddings of shape (N, width) for noise levels of shape (N,)."""
        octaves = torch.linspace(-2, 3, self.frequencies, device=sigma.device, dtype=sigma.dtype)
        angles = sigma.clamp_min(MIN_SIGMA).log().view(-1, 1) * (math.log(2) * octaves).exp()
        vector: Tensor = self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))
        return vector
