"""A multilayer perceptron on the whole image."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from .._papers import BURGER_2012
from ._inputs import need_shape

#: Keeps the share of a black image from being 0/0.
TINY = 1e-20


class MLP(nn.Module):
    """Multilayer perceptron on the whole image: every layer joins every number to every other, with ReLU between.

    It has no notion of neighbourhoods or translations: a denoiser without convolutions. Burger, Schuler
    & Harmeling, CVPR 2012, denoised patches so (with tanh).

    The last hidden layer h gives an image and the share of the noisy one that is added to it:
    ``denoised = u²/(u² + v²) noisy + image``, where u and v are linear in h. A hidden layer narrower than the image
    cannot carry its noise: a network that had to estimate the noise, as others here do, could remove little of it.
    Without bias the share does not change with the scale of the image, so that the network is homogeneous. Training
    starts near the identity: a share near 1 and an image near 0.

    The receptive field is global; only images of the size that it was built for. With the defaults: blind, about
    2048 d + 1 M parameters for d = C H W, which is 3.2 M for grey images of 32x32.

    Parameters
    ----------
    shape
        Shape (C, H, W) of the images.
    width
        Numbers in a hidden layer.
    layers
        Number of linear maps from the noisy to the denoised image.
    bias
        Whether to add constants.
    blind
        Whether to ignore the noise level; otherwise it is a further input.
    """

    citation = BURGER_2012
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
        numbers = noisy.flatten(1)
        if not self.blind:
            level = sigma.to(numbers.dtype).view(-1, 1).expand(len(numbers), 1)
            numbers = torch.cat([numbers, level], dim=1)
        features = self.hidden(numbers)
        kept, dropped = self.share(features).square().chunk(2, dim=1)
        share = (kept / (kept + dropped + TINY)).view(-1, 1, 1, 1)
        denoised: Tensor = share * noisy + self.image(features).view_as(noisy)
        return denoised


def _linear(inputs: int, outputs: int, *, bias: bool) -> nn.Linear:
    """Return a layer with the weights of He, Zhang, Ren & Sun, ICCV 2015, for inputs that come from ReLU."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
