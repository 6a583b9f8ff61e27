"""A trained linear denoiser."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from gahbench_plugins.architectures.layers import need_shape
from gahbench_plugins.bases.dct import dct_matrix

#: Factor on the effect of optimiser steps on the shrinkage of frequencies, relative to other parameters.
GAIN_SPEED = 10.0


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
