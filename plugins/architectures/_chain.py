"""Chains of convolutions that estimate the noise, as in DnCNN."""

from __future__ import annotations

from torch import Tensor, nn

from ._bias_free import convolution, initialise_layers, residual_output
from ._inputs import append_noise_level


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
        modules.append(residual_output(width, inputs, bias=bias))
        self.layers = nn.Sequential(*modules)
        if not norm:
            initialise_layers(self.layers)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) with noise levels of shape (N,)."""
        return noisy - self.noise(noisy, sigma)

    def noise(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return the estimate of the noise, of the same shape as ``noisy``."""
        estimate: Tensor = self.layers(noisy if self.blind else append_noise_level(noisy, sigma))
        return estimate
