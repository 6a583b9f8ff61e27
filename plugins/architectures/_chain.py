"""A chain of 3x3 convolutions, the form of DnCNN."""

from __future__ import annotations

from torch import Tensor, nn

from ._bias_free import convolution, keep_variance, residual_output
from ._noise_level import with_noise_level


class Chain(nn.Module):
    """A chain of convolutions on the image, and on a map of the noise level if it is not blind.

    The layers estimate the noise, which ``forward`` subtracts. Its architectures differ in what they start from; their
    constructors say so.
    """

    def __init__(self, channels: int, width: int, layers: int, *, bias: bool, norm: bool, blind: bool) -> None:
        super().__init__()
        self.blind = blind
        self.layers = chain(channels + (not blind), width, channels, layers, bias=bias, norm=norm)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) with noise levels of shape (N,)."""
        residual: Tensor = self.layers(noisy if self.blind else with_noise_level(noisy, sigma))
        return noisy - residual


def chain(inputs: int, width: int, outputs: int, layers: int, *, bias: bool, norm: bool) -> nn.Sequential:
    """Return convolution, ReLU; (convolution, normalisation, ReLU) x (layers - 2); convolution.

    The receptive field is 2 layers + 1. The result is the noise, near 0 before training.

    Parameters
    ----------
    inputs, width, outputs
        Channels of the first layer's input, of the hidden layers, and of the result.
    layers
        Number of convolutions, at least 2.
    bias, norm
        As of :func:`.bias_free.convolution`.
    """
    modules = convolution(inputs, width, bias=bias, norm=False)
    for _ in range(layers - 2):
        modules += convolution(width, width, bias=bias, norm=norm)
    modules.append(residual_output(width, outputs, bias=bias))
    network = nn.Sequential(*modules)
    if not norm:
        keep_variance(network)
    return network
