"""Sums over square windows, and what is weighted by squared differences that are summed over them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gahbench import Shape, hardware, image_shape

from .._tensors import candidate_indices
from ..datasets.finite import COUNTS

Boundary = Literal["zeros", "periodic"]

#: Logarithm of weights that do not count: smaller ones would be denormal numbers, which processors are slow at.
NEGLIGIBLE = -80.0
#: Values of training images that are compared at a time, on a processor, whose cache holds them, and on a GPU.
VALUES = 1 << 18
VALUES_GPU = 1 << 24


def window_sums(values: Tensor, side: int) -> Tensor:
    """Return the sums over all windows of ``side`` x ``side`` in (..., H, W): (..., H - side + 1, W - side + 1)."""
    return _sums(_sums(values, side, -1), side, -2)


def _sums(values: Tensor, side: int, dim: int) -> Tensor:
    length = values.shape[dim]
    count, covered, width = length - side + 1, 0, 1
    total: Tensor | None = None
    while True:
        if side & width:
            part = values.narrow(dim, covered, count)
            total = part if total is None else total + part
            covered += width
        if 2 * width > side:
            assert total is not None
            return total
        left = length - 2 * width + 1
        values = values.narrow(dim, 0, left) + values.narrow(dim, width, left)
        width *= 2


def pieces(training: Tensor) -> tuple[Tensor, ...]:
    """Return training images (M, C, H, W) in pieces that fit into a cache."""
    return torch.split(training, piece_of(training))


def piece_of(training: Tensor) -> int:
    """Return how many training images (M, C, H, W) are compared at a time."""
    return max(1, (VALUES_GPU if hardware(training.device).has_large_batches else VALUES) // training[0].numel())


class RunningMean:
    """Averages at each place under weights exp(l) that come in parts, relative to the largest so far."""

    def __init__(self) -> None:
        self._peak: Tensor | None = None

    def add(self, logarithms: Tensor, values: Tensor) -> None:
        """Add values, shape (K, ...), of given logarithms of weights, which broadcast to it and are written over."""
        # It cancels, and has no derivative.
        peak = logarithms.detach().amax(0)
        if self._peak is None:
            self._peak, self._sum, self._total = peak, torch.zeros_like(values[0]), torch.zeros_like(peak)
        else:
            peak = torch.maximum(self._peak, peak)
            shrunk = torch.exp(self._peak - peak)
            self._peak, self._sum, self._total = peak, self._sum * shrunk, self._total * shrunk
        weights = logarithms.sub_(peak).clamp_(min=NEGLIGIBLE).exp_()
        self._total += weights.sum(0)
        self._sum += (weights * values).sum(0)

    def value(self) -> Tensor:
        """Return the averages, shape (...)."""
        return self._sum / self._total


def pixel_means(training: Tensor, noisy: Tensor, logarithms: Callable[[Tensor], Tensor]) -> Tensor:
    """Return at each pixel the average of the training images there, with weights of its own."""
    dtype = torch.promote_types(training.dtype, noisy.dtype)
    result = torch.empty_like(noisy)
    for place, image in enumerate(noisy.to(dtype)):
        mean = RunningMean()
        for some in pieces(training):
            mean.add(logarithms((some - image).square()), some)
        result[place] = mean.value()
    return result


def positioned_means(training: Tensor, noisy: Tensor, sigma: float, side: int, boundary: Boundary) -> Tensor:
    """Return at each pixel the average of the training images there, weighted by the patches around it."""
    mode = "circular" if boundary == "periodic" else "constant"

    def logarithms(squares: Tensor) -> Tensor:
        around = functional.pad(squares.sum(1, keepdim=True), (side // 2,) * 4, mode=mode)
        return window_sums(around, side) / (-2 * sigma**2)

    return pixel_means(training, noisy, logarithms)


def composites(training: Tensor, noisy: Tensor, sigma: float, side: int) -> Tensor:
    """Return the averages over overlapping patches of the posterior means of patches, each from its position alone.

    At a pixel that is sum_i x_i sum_p w_i(p) / n, over training images x_i and the n patches p that cover the pixel,
    w(p) = softmax(-|y_p - x_ip|^2 / 2 sigma^2) over i. It needs 4 bytes for each training image and pixel.
    """
    dtype = torch.promote_types(training.dtype, noisy.dtype)
    result = torch.empty_like(noisy)
    covering = _covering_number(image_shape(noisy), side).to(noisy.device, dtype)
    for place, image in enumerate(noisy.to(dtype)):
        total = torch.zeros_like(image)
        weights = posterior_weights(training, image, sigma, side)
        for some, of_some in zip(pieces(training), torch.split(weights, piece_of(training)), strict=True):
            total += (some * _covering(of_some, side)[:, None]).sum(0)
        result[place] = total / covering
    return result


def posterior_weights(training: Tensor, image: Tensor, sigma: float, side: int) -> Tensor:
    """Return the weights of M training images for each patch of a noisy one: (M, H - side + 1, W - side + 1)."""
    parts = [window_sums((some - image).square().sum(1), side) for some in pieces(training)]
    logarithms = torch.cat(parts).div_(-2 * sigma**2)
    weights = logarithms.sub_(logarithms.amax(0)).clamp_(min=NEGLIGIBLE).exp_()
    return weights.div_(weights.sum(0))


def composite_jacobian(training: Tensor, image: Tensor, sigma: float, side: int) -> Tensor:
    """Return the derivative of :func:`composites` at one noisy image, shape (d, d), d = C * H * W, float64.

    It is the sum over patches p of their posterior covariance over sigma^2, each row divided by the number of patches
    that cover its pixel.
    """
    channels, height, width = image.shape
    weights = posterior_weights(training, image.double(), sigma, side)
    numbers = torch.arange(image.numel(), device=image.device).view(image.shape)
    result = image.new_zeros(image.numel(), image.numel(), dtype=torch.float64)
    for row, column in itertools.product(range(height - side + 1), range(width - side + 1)):
        inside = (slice(None), slice(row, row + side), slice(column, column + side))
        own = weights[:, row, column]
        chosen = candidate_indices(own > COUNTS)
        patches, own = training[(chosen, *inside)].double().flatten(1), own[chosen]
        centred = patches - own @ patches
        places = numbers[inside].flatten()
        result[places[:, None], places] += (own[:, None] * centred).mT @ centred / sigma**2
    covering = _covering_number((channels, height, width), side).to(result)
    return result / covering.expand(channels, -1, -1).flatten()[:, None]


def _covering_number(shape: Shape, side: int) -> Tensor:
    """Return how many patches cover each pixel of images (C, H, W), shape (1, H, W)."""
    _, height, width = shape
    return _covering(torch.ones(1, height - side + 1, width - side + 1), side)


def _covering(weights: Tensor, side: int) -> Tensor:
    """Return at each pixel the sum over the patches that cover it, (K, H, W), of (K, H - side + 1, W - side + 1)."""
    return window_sums(functional.pad(weights, (side - 1,) * 4), side)
