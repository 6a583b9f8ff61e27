"""Images of any size, continued by their mirror image to sizes that a transform takes."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from gahbench import Basis, Shape

Size = tuple[int, int]
#: Noise of a standard deviation below this, for unit white noise, is none but for rounding.
NO_NOISE = 1e-6


class Extended(Basis):
    """Base of bases whose transform takes some sizes of images only, for images of any size."""

    @abstractmethod
    def fitting(self, height: int, width: int) -> Size:
        """Return the smallest size, of at least the given one, that is transformed."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, ...), of images of a size that fits."""

    @abstractmethod
    def backward(self, coefficients: Tensor, size: Size) -> Tensor:
        """Return the images (N, C, H, W) of a size that fits, of their coefficients as one vector, (N, C, K)."""

    @abstractmethod
    def fitting_bands(self, size: Size) -> Tensor:
        """Return the labels of the coefficients of images of a size that fits."""

    @abstractmethod
    def extended_noise(self, size: Size, fitting: Size) -> Tensor:
        """Return the standard deviations of the coefficients of extended unit white noise, float64."""

    def is_extended(self, shape: Shape) -> bool:
        """Return whether images (C, H, W) are continued."""
        return self.fitting(*shape[-2:]) != tuple(shape[-2:])

    def is_orthonormal(self, shape: Shape) -> bool:
        """Return whether the transform is orthonormal, and images (C, H, W) are not continued."""
        return self.orthonormal and not self.is_extended(shape)

    def notes(self, shape: Shape) -> tuple[str, ...]:
        """Say whether, and to what size, images (C, H, W) are continued."""
        if not self.is_extended(shape):
            return ()
        height, width = self.fitting(*shape[-2:])
        return (f"images of {shape[-2]}x{shape[-1]} are continued to {height}x{width} by their mirror image",)

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, (N, C, K, H, W) of images that are continued; in their dtype, on their device."""
        size = _size(images)
        fitting = self.fitting(*size)
        if fitting == size:
            return self.forward(images)
        return laid_out(self.forward(mirrored(images, fitting)).flatten(2), size)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        height, width = _size(coefficients)
        fitting = self.fitting(height, width)
        extended = self.backward(coefficients.flatten(2), fitting)
        return extended if fitting == (height, width) else extended[..., :height, :width]

    def bands(self, shape: Shape) -> Tensor:
        """Return the labels of the coefficients, 0 the coarse scale; of images that are continued (K, H, W)."""
        size = (shape[-2], shape[-1])
        fitting = self.fitting(*size)
        labels = self.fitting_bands(fitting)
        return labels if fitting == size else laid_out(labels.flatten(), size)

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviation of each coefficient of unit white noise, float64, as :meth:`bands`; or 1."""
        size = (shape[-2], shape[-1])
        fitting = self.fitting(*size)
        if fitting == size:
            return super().noise_levels(shape)
        levels = self.extended_noise(size, fitting)
        # Of blocks that are their own mirror image rounding leaves some.
        return laid_out(torch.where(levels > NO_NOISE, levels, 0).flatten(), size)

    def check_filters(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that are continued: filters that shrink there are not symmetric."""
        self.check_shape(shape)
        if self.is_extended(shape):
            height, width = self.fitting(*shape[-2:])
            raise ValueError(
                f"filters that shrink in a basis are compared for sizes that it need not continue, such as "
                f"{height}x{width}, not for {shape[-2]}x{shape[-1]}"
            )


def next_multiples(height: int, width: int, multiple: int) -> Size:
    """Return the smallest multiples that are not below the sides."""
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def mirrored_places(size: int, extended: int) -> Tensor:
    """Return which of ``size`` samples each of ``extended`` samples repeats, back and forth."""
    places = torch.arange(extended) % (2 * size)
    return torch.minimum(places, 2 * size - 1 - places)


def mirrored(images: Tensor, size: Size) -> Tensor:
    """Return images (..., H, W) continued below and to the right by their mirror image to a size."""
    for axis, extended in zip((-2, -1), size, strict=True):
        if images.shape[axis] != extended:
            images = images.index_select(axis, mirrored_places(images.shape[axis], extended).to(images.device))
    return images


def folded(rows: Tensor, size: int) -> Tensor:
    """Return functionals of extended signals, shape (..., extended), as functionals of the signals, (..., size)."""
    places = mirrored_places(size, rows.shape[-1]).to(rows.device)
    return rows.new_zeros(*rows.shape[:-1], size).index_add(-1, places, rows)


def laid_out(vectors: Tensor, size: Size) -> Tensor:
    """Return vectors (..., M), followed by zeros, in the shape (..., K, H, W), K as small as possible."""
    pixels = math.prod(size)
    layers = -(-vectors.shape[-1] // pixels)
    padded = torch.nn.functional.pad(vectors, (0, layers * pixels - vectors.shape[-1]))
    return padded.reshape(*vectors.shape[:-1], layers, *size)


def first_layer(vectors: Tensor, size: Size) -> Tensor:
    """Return the beginning of vectors (..., M) in the shape (..., H, W)."""
    return vectors[..., : math.prod(size)].reshape(*vectors.shape[:-1], *size)


def _size(images: Tensor) -> Size:
    return images.shape[-2], images.shape[-1]
