"""Layers whose output is homogeneous in their input: no additive constants anywhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class BiasFreeNorm(nn.Module):
    """Division by the batch standard deviation of each channel, then a learned gain.

    No mean is subtracted and nothing is added, so that with ReLU and convolutions without bias the network is
    homogeneous of order 1 in evaluation (Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda, ICLR 2020, section 4).
    Evaluation uses running values.
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
            return _scaled(features, self.gain / self.running_deviation)
        if torch.compiler.is_compiling() or not _has_kernels(features, self.gain):
            # The compiler fuses this formula with its neighbours.
            normalised, deviation = _formula(features, self.gain, self.epsilon)
        else:
            normalised, deviation = _Normalised.apply(features, self.gain, self.epsilon)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self.running_deviation.lerp_(deviation, self.momentum)
        return normalised


class _Normalised(torch.autograd.Function):
    """Features over their deviation, times a gain, and the deviation."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, gain: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        # Running values in the precision of the gain keep statistics of features in bfloat16 in float32.
        running = torch.zeros_like(gain), torch.ones_like(gain)
        mean, variance = torch.batch_norm_update_stats(features, *running, 0.0)
        deviation = (variance + epsilon).sqrt()
        ctx.save_for_backward(features, gain, mean, deviation)
        ctx.epsilon = epsilon
        ctx.mark_non_differentiable(deviation)
        return _scaled(features, gain / deviation), deviation

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        features, gain, mean, deviation = ctx.saved_tensors
        if torch.is_grad_enabled():
            # For second derivatives.
            normalised, _ = _formula(features, gain, ctx.epsilon)
            found = torch.autograd.grad(normalised, (features, gain), gradients[0], create_graph=True)
            return found[0], found[1], None
        gradient, count = gradients[0], features.numel() // features.shape[1]
        _, centred, total = torch.ops.aten.native_batch_norm_backward(
            gradient, features, torch.ones_like(gain), None, None, mean, 1 / deviation, True, 0.0, [False, True, True]
        )
        # The sum of gradient * features for each channel, over the deviation.
        product = centred + mean * total / deviation
        slope = -gain * product / (deviation.square() * count)
        inner = torch.addcmul(_channels(-slope * mean, features), features, _channels(slope, features))
        return inner.addcmul_(gradient, _channels(gain / deviation, features)), product, None


def _has_kernels(features: Tensor, gain: Tensor) -> bool:
    """Whether the kernels of batch normalisation take such features."""
    is_mixed = gain.dtype == torch.float32 and features.dtype in (torch.bfloat16, torch.float16)
    return not features.is_meta and (is_mixed or features.dtype == gain.dtype)


def _formula(features: Tensor, gain: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    deviation = (features.var(dim=(0, 2, 3), correction=0).to(gain.dtype) + epsilon).sqrt()
    return _scaled(features, gain / deviation), deviation


def _scaled(features: Tensor, scale: Tensor) -> Tensor:
    """Multiply each channel, in the precision of the features."""
    # A division would be a second pass.
    return features * _channels(scale, features)


def _channels(values: Tensor, features: Tensor) -> Tensor:
    return values.to(features.dtype).view(1, -1, 1, 1)


def residual_output(inputs: int, outputs: int, *, bias: bool) -> nn.Conv2d:
    """Return the last 3x3 convolution of a network that estimates the noise.

    Its weights start a hundred times smaller than usual, so that training starts near the identity: errors over sigma^2
    are then 1 at every noise level, and Adam's second moments are not spoilt by a first loss of 1/sigma_min^2.
    """
    last = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(0.01)
    return last


def keep_variance(network: nn.Module) -> None:
    """Draw the weights of all layers but the last, which is the small one, as He, Zhang, Ren & Sun, ICCV 2015."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    for layer in layers[:-1]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def convolution(inputs: int, outputs: int, *, bias: bool, norm: bool = True, side: int = 3) -> list[nn.Module]:
    """Return a convolution with a kernel of an odd side, its normalisation if any, and ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=bias and not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(outputs) if bias else BiasFreeNorm(outputs))
    layers.append(nn.ReLU(inplace=True))
    return layers
