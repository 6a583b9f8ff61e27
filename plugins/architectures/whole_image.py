"""Networks without convolutions, on the whole image: a linear map, and a multilayer perceptron."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from gahbench_plugins.architectures.layers import need_shape
from gahbench_plugins.bases.dct import dct_matrix

#: Factor on the effect of optimiser steps on the shrinkage of frequencies, relative to other parameters.
GAIN_SPEED = 10.0
#: Constant added to the denominator of the share, which would be 0 for a black image.
TINY = 1e-20


class Linear(nn.Module):
    """Trained linear map of the whole image: a denoiser that does not adapt to the image.

    Every linear map of the d = C H W values of an image can be learned. For a single noise level the optimal map is the
    Wiener filter (Wiener 1949) with the second moments of the training images; see the reference ``wiener-linear``. For
    several levels the optimal map is a compromise, since a blind linear map is the same for all levels.

    The map is ``noisy - M noisy``, where M is the sum of a diagonal and a full matrix between DCT coefficients. The
    diagonal is redundant, but it is the largest part of the optimal map, since images are nearly stationary, and has
    only d parameters instead of d². Training starts at the identity. Without ``residual`` the map is a plain matrix
    that starts at 0, for which gradient descent at a single noise level learns each principal component at a rate
    proportional to its variance plus the variance of the noise (Wang & Pehlevan 2025, arXiv 2503.03206).

    The receptive field is global, and images must have the shape of the dataset. There are d² + d parameters, 1.05 M
    for grey images of 32x32. Without ``bias`` the map is linear, and therefore homogeneous.

    Parameters
    ----------
    shape
        Shape (C, H, W) of the images.
    bias
        Whether to add a learned constant image, which makes the map affine.
    residual
        Whether the map is the identity minus a learned map; otherwise it is a plain matrix.
    """

    display_name = "linear map"
    citation = ("wiener-1949", "wang-2025")
    rows: Tensor
    columns: Tensor

    def __init__(self, shape: tuple[int, int, int], bias: bool = False, residual: bool = True) -> None:
        super().__init__()
        self.shape = shape
        _, height, width = shape
        pixels = math.prod(shape)
        self.bias = nn.Parameter(torch.zeros(shape)) if bias else None
        self.matrix = None if residual else nn.Parameter(torch.zeros(pixels, pixels))
        if self.matrix is not None:
            return
        # These are plain parameters, so that a recipe that initialises linear layers does not change their start at 0.
        self.shrinkage = nn.Parameter(torch.zeros(shape))
        self.mixing = nn.Parameter(torch.zeros(pixels, pixels))
        device = self.shrinkage.device
        self.register_buffer("rows", dct_matrix(height, torch.float32, device), persistent=False)
        self.register_buffer("columns", dct_matrix(width, torch.float32, device), persistent=False)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); the same map for all noise levels, so ``sigma`` is not used."""
        need_shape(noisy, self.shape, "linear")
        denoised = self._residual(noisy) if self.matrix is None else self._plain(noisy, self.matrix)
        return denoised if self.bias is None else denoised + self.bias

    def _plain(self, noisy: Tensor, matrix: Tensor) -> Tensor:
        return functional.linear(noisy.flatten(1), matrix).view_as(noisy)

    def _residual(self, noisy: Tensor) -> Tensor:
        coefficients = self.rows @ noisy @ self.columns.T
        # Each output coefficient is a sum of d terms; without the factor optimiser steps would be too large.
        mixed = functional.linear(coefficients.flatten(1), self.mixing) / math.sqrt(len(self.mixing))
        removed = GAIN_SPEED * self.shrinkage * coefficients + mixed.view_as(noisy)
        return noisy - self.rows.T @ removed @ self.columns


class MLP(nn.Module):
    """Multilayer perceptron of fully connected layers with ReLU on the whole image.

    The network has no convolutions, and no notion of neighbourhoods or translations. Burger, Schuler & Harmeling, CVPR
    2012, denoised patches with such a network, with tanh instead of ReLU.

    From the last hidden layer h the network computes an image, and a share of the noisy image that is added to it:
    ``denoised = u²/(u² + v²) noisy + image``, where u and v are linear in h. It does not estimate the noise as other
    networks here do, since a hidden layer narrower than the image cannot represent the noise. Without bias the share
    does not depend on the scale of the image, so the network is homogeneous. Training starts near the identity, with a
    share near 1 and an image near 0.

    The receptive field is global, and images must have the shape of the dataset. With the defaults the network is
    blind, and has about 2048 d + 1 M parameters for d = C H W: 3.2 M for grey images of 32x32.

    Parameters
    ----------
    shape
        Shape (C, H, W) of the images.
    width
        Number of units in a hidden layer.
    layers
        Number of linear layers from the noisy to the denoised image.
    bias
        Whether linear layers have a bias.
    blind
        Whether to ignore the noise level; otherwise it is an additional input.
    """

    display_name = "multilayer perceptron"
    citation = "burger-2012"
    label_parameters = ("width",)

    def __init__(
        self,
        shape: tuple[int, int, int],
        width: Annotated[int, Field(ge=1)] = 1024,
        layers: Annotated[int, Field(ge=2, le=1000)] = 3,
        bias: bool = True,
        blind: bool = True,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.blind = blind
        pixels = math.prod(shape)
        hidden: list[nn.Module] = []
        for inputs, outputs in pairwise([pixels + (not blind), *[width] * (layers - 1)]):
            hidden += [_linear(inputs, outputs, bias=bias), nn.ReLU()]
        self.hidden = nn.Sequential(*hidden)
        self.image = _linear(width, pixels, bias=bias)
        self.share = _linear(width, 2, bias=bias)
        with torch.no_grad():
            self.image.weight.mul_(0.01)
            self.share.weight[1].mul_(0.1)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) with noise levels of shape (N,)."""
        need_shape(noisy, self.shape, "mlp")
        inputs = noisy.flatten(1)
        if not self.blind:
            level = sigma.to(inputs.dtype).view(-1, 1).expand(len(inputs), 1)
            inputs = torch.cat([inputs, level], dim=1)
        features = self.hidden(inputs)
        kept_weight, dropped_weight = self.share(features).square().chunk(2, dim=1)
        share = (kept_weight / (kept_weight + dropped_weight + TINY)).view(-1, 1, 1, 1)
        denoised: Tensor = share * noisy + self.image(features).view_as(noisy)
        return denoised


def _linear(inputs: int, outputs: int, *, bias: bool) -> nn.Linear:
    """Return a layer initialised for ReLU as in He, Zhang, Ren & Sun, ICCV 2015."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
