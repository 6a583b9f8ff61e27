"""Layers without additive constants, and initialisation of convolutional networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


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

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features of shape (N, C, H, W)."""
        if not self.training:
            return _scale_channels(features, self.gain / self.running_deviation)
        if torch.compiler.is_compiling() or not _has_kernels(features, self.gain):
            # The compiler fuses this formula with neighbouring operations.
            normalised, deviation = _normalise(features, self.gain, self.epsilon)
        else:
            normalised, deviation = _Normalise.apply(features, self.gain, self.epsilon)  # type: ignore[no-untyped-call]
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
        ctx.epsilon = epsilon
        ctx.mark_non_differentiable(deviation)
        return _scale_channels(features, gain / deviation), deviation

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        features, gain, mean, deviation = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Build a graph for second derivatives.
            normalised, _ = _normalise(features, gain, ctx.epsilon)
            gradients_in = torch.autograd.grad(normalised, (features, gain), gradients[0], create_graph=True)
            return gradients_in[0], gradients_in[1], None
        gradient, count = gradients[0], features.numel() // features.shape[1]
        _, centred, total = torch.ops.aten.native_batch_norm_backward(
            gradient, features, torch.ones_like(gain), None, None, mean, 1 / deviation, True, 0.0, [False, True, True]
        )
        # Sum of gradient * features for each channel, divided by the deviation.
        product = centred + mean * total / deviation
        slope = -gain * product / (deviation.square() * count)
        inner = torch.addcmul(_per_channel(-slope * mean, features), features, _per_channel(slope, features))
        return inner.addcmul_(gradient, _per_channel(gain / deviation, features)), product, None


def _has_kernels(features: Tensor, gain: Tensor) -> bool:
    """Return whether the kernels of batch normalisation support the features."""
    is_mixed = gain.dtype == torch.float32 and features.dtype in (torch.bfloat16, torch.float16)
    return not features.is_meta and (is_mixed or features.dtype == gain.dtype)


def _normalise(features: Tensor, gain: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    deviation = (features.var(dim=(0, 2, 3), correction=0).to(gain.dtype) + epsilon).sqrt()
    return _scale_channels(features, gain / deviation), deviation


def _scale_channels(features: Tensor, scale: Tensor) -> Tensor:
    """Multiply each channel by a factor, in the precision of the features."""
    # Multiplying by a single factor avoids a second pass for the division.
    return features * _per_channel(scale, features)


def _per_channel(values: Tensor, features: Tensor) -> Tensor:
    return values.to(features.dtype).view(1, -1, 1, 1)


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


def convolution(inputs: int, outputs: int, *, bias: bool, norm: bool = True, side: int = 3) -> list[nn.Module]:
    """Return a convolution with a kernel of odd side, an optional normalisation, and ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=bias and not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(outputs) if bias else BiasFreeNorm(outputs))
    layers.append(nn.ReLU(inplace=True))
    return layers
