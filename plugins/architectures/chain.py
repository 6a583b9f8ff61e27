"""A chain of 3x3 convolutions, the form of DnCNN."""

from __future__ import annotations

from torch import nn

from .bias_free import convolution, keep_variance, residual_output


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
