"""Sums over square windows, and averages of training images weighted by the distances of patches."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gahbench import Shape, hardware, image_shape

from .._tensors import candidate_indices
from ..datasets.finite import MIN_WEIGHT

Boundary = Literal["zeros", "periodic"]

#: Lower bound of log weights: smaller weights are negligible, and would be denormal numbers, which are slow on CPUs.
NEGLIGIBLE = -80.0
#: Number of values of training images that are compared at a time; on a CPU, the values fit into its cache.
CHUNK_VALUES = 1 << 18
CHUNK_VALUES_GPU = 1 << 24


def window_sums(values: Tensor, side: int) -> Tensor:
    """Return the sums over all ``side`` x ``side`` windows of (..., H, W), shape (..., H - side + 1, W - side + 1)."""
    return _sums_along(_sums_along(values, side, -1), side, -2)


def _sums_along(values: Tensor, side: int, dim: int) -> Tensor:
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
        remaining = length - 2 * width + 1
        values = values.narrow(dim, 0, remaining) + values.narrow(dim, width, remaining)
        width *= 2


def split_into_chunks(training: Tensor) -> tuple[Tensor, ...]:
    """Split training images (M, C, H, W) into chunks that fit into the CPU cache."""
    return torch.split(training, chunk_size(training))


def chunk_size(training: Tensor) -> int:
    """Return how many of the training images (M, C, H, W) are compared at a time."""
    values = CHUNK_VALUES_GPU if hardware(training.device).is_accelerator else CHUNK_VALUES
    return max(1, values // training[0].numel())


class RunningMean:
    """A weighted average at each pixel whose values and log weights arrive in chunks."""

    def __init__(self) -> None:
        self._peak: Tensor | None = None

    def add(self, log_weights: Tensor, values: Tensor) -> None:
        """Add values, shape (K, ...), with log weights that broadcast to that shape and are overwritten."""
        # The peak cancels in the average, so no gradient through it is needed.
        peak = log_weights.detach().amax(0)
        if self._peak is None:
            self._peak, self._sum, self._total = peak, torch.zeros_like(values[0]), torch.zeros_like(peak)
        else:
            peak = torch.maximum(self._peak, peak)
            scale = torch.exp(self._peak - peak)
            self._peak, self._sum, self._total = peak, self._sum * scale, self._total * scale
        weights = log_weights.sub_(peak).clamp_(min=NEGLIGIBLE).exp_()
        self._total += weights.sum(0)
        self._sum += (weights * values).sum(0)

    def value(self) -> Tensor:
        """Return the averages, shape (...)."""
        return self._sum / self._total


def pixel_means(training: Tensor, noisy: Tensor, log_weights: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the average of the training images at each pixel, with separate weights for each pixel."""
    dtype = torch.promote_types(training.dtype, noisy.dtype)
    result = torch.empty_like(noisy)
    for index, image in enumerate(noisy.to(dtype)):
        mean = RunningMean()
        for chunk in split_into_chunks(training):
            mean.add(log_weights((chunk - image).square()), chunk)
        result[index] = mean.value()
    return result


def means_by_position(training: Tensor, noisy: Tensor, sigma: float, side: int, boundary: Boundary) -> Tensor:
    """Return the average of the training images at each pixel, weighted by the distance of the patches around it."""
    mode = "circular" if boundary == "periodic" else "constant"

    def log_weights(squares: Tensor) -> Tensor:
        padded = functional.pad(squares.sum(1, keepdim=True), (side // 2,) * 4, mode=mode)
        return window_sums(padded, side) / (-2 * sigma**2)

    return pixel_means(training, noisy, log_weights)


def composites(training: Tensor, noisy: Tensor, sigma: float, side: int) -> Tensor:
    """Return the averages, over overlapping patches, of the posterior mean of each patch given its position.

    The value of a pixel is sum_i x_i sum_p w_i(p) / n, over training images x_i and the n patches p that cover the
    pixel, with w(p) = softmax(-|y_p - x_ip|^2 / 2 sigma^2) over i. Memory is 4 bytes for each training image and pixel.
    """
    dtype = torch.promote_types(training.dtype, noisy.dtype)
    result = torch.empty_like(noisy)
    covering = _patch_counts(image_shape(noisy), side).to(noisy.device, dtype)
    for index, image in enumerate(noisy.to(dtype)):
        total = torch.zeros_like(image)
        weights = posterior_weights(training, image, sigma, side)
        weight_chunks = torch.split(weights, chunk_size(training))
        for chunk, chunk_weights in zip(split_into_chunks(training), weight_chunks, strict=True):
            total += (chunk * _sum_over_covering_patches(chunk_weights, side)[:, None]).sum(0)
        result[index] = total / covering
    return result


def posterior_weights(training: Tensor, image: Tensor, sigma: float, side: int) -> Tensor:
    """Return the weights of the M training images for each patch of a noisy image, (M, H - side + 1, W - side + 1)."""
    parts = [window_sums((chunk - image).square().sum(1), side) for chunk in split_into_chunks(training)]
    log_weights = torch.cat(parts).div_(-2 * sigma**2)
    weights = log_weights.sub_(log_weights.amax(0)).clamp_(min=NEGLIGIBLE).exp_()
    return weights.div_(weights.sum(0))


def composite_jacobian(training: Tensor, image: Tensor, sigma: float, side: int) -> Tensor:
    """Return the Jacobian of :func:`composites` at a noisy image, shape (d, d), d = C * H * W, float64.

    The Jacobian is the sum over patches of their posterior covariance over sigma^2, with each row divided by the number
    of patches that cover its pixel.
    """
    channels, height, width = image.shape
    weights = posterior_weights(training, image.double(), sigma, side)
    indices = torch.arange(image.numel(), device=image.device).view(image.shape)
    result = image.new_zeros(image.numel(), image.numel(), dtype=torch.float64)
    for row, column in itertools.product(range(height - side + 1), range(width - side + 1)):
        inside = (slice(None), slice(row, row + side), slice(column, column + side))
        patch_weights = weights[:, row, column]
        members = candidate_indices(patch_weights > MIN_WEIGHT)
        patches, patch_weights = training[(members, *inside)].double().flatten(1), patch_weights[members]
        centred = patches - patch_weights @ patches
        pixels = indices[inside].flatten()
        result[pixels[:, None], pixels] += (patch_weights[:, None] * centred).mT @ centred / sigma**2
    covering = _patch_counts((channels, height, width), side).to(result)
    return result / covering.expand(channels, -1, -1).flatten()[:, None]


def _patch_counts(shape: Shape, side: int) -> Tensor:
    """Return how many patches cover each pixel of images of shape (C, H, W), shape (1, H, W)."""
    _, height, width = shape
    return _sum_over_covering_patches(torch.ones(1, height - side + 1, width - side + 1), side)


def _sum_over_covering_patches(weights: Tensor, side: int) -> Tensor:
    """Return the sums over the patches that cover each pixel, (K, H, W), given (K, H - side + 1, W - side + 1)."""
    return window_sums(functional.pad(weights, (side - 1,) * 4), side)
