"""Extension of images by their mirror image to the sizes of a transform."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from gahbench import Basis, Shape

Size = tuple[int, int]
#: Smaller standard deviations, for unit white noise, are rounding errors of 0.
NO_NOISE = 1e-6


class Extended(Basis):
    """Base class of bases whose transform exists only for some sizes; images of other sizes are extended."""

    @abstractmethod
    def valid_size(self, height: int, width: int) -> Size:
        """Return the smallest valid size that is not smaller than the given size."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, ...), of images of a valid size."""

    @abstractmethod
    def backward(self, coefficients: Tensor, size: Size) -> Tensor:
        """Return the images (N, C, H, W) of a valid size, given coefficients as vectors, (N, C, K)."""

    @abstractmethod
    def bands_of_valid_size(self, size: Size) -> Tensor:
        """Return the labels of the coefficients of images of a valid size."""

    @abstractmethod
    def extended_noise(self, size: Size, valid_size: Size) -> Tensor:
        """Return the standard deviations of the coefficients of extended unit white noise, float64."""

    def is_extended(self, shape: Shape) -> bool:
        """Return whether images (C, H, W) are extended."""
        return self.valid_size(*shape[-2:]) != tuple(shape[-2:])

    def is_orthonormal(self, shape: Shape) -> bool:
        """Return whether the transform is orthonormal and images (C, H, W) are not extended."""
        return self.orthonormal and not self.is_extended(shape)

    def notes(self, shape: Shape) -> tuple[str, ...]:
        """Return a note if images (C, H, W) are extended, with the extended size."""
        if not self.is_extended(shape):
            return ()
        height, width = self.valid_size(*shape[-2:])
        return (f"images of {shape[-2]}x{shape[-1]} are extended to {height}x{width} by their mirror image",)

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients in the dtype and device of images; shape (N, C, K, H, W) if they are extended."""
        size = _size(images)
        valid_size = self.valid_size(*size)
        if valid_size == size:
            return self.forward(images)
        return lay_out(self.forward(extend(images, valid_size)).flatten(2), size)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        height, width = _size(coefficients)
        valid_size = self.valid_size(height, width)
        extended = self.backward(coefficients.flatten(2), valid_size)
        return extended if valid_size == (height, width) else extended[..., :height, :width]

    def bands(self, shape: Shape) -> Tensor:
        """Return the labels of the coefficients, 0 for the coarse scale; shape (K, H, W) if images are extended."""
        size = (shape[-2], shape[-1])
        valid_size = self.valid_size(*size)
        labels = self.bands_of_valid_size(valid_size)
        return labels if valid_size == size else lay_out(labels.flatten(), size)

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviations of unit white noise, float64: 1, or in the shape of :meth:`bands`."""
        size = (shape[-2], shape[-1])
        valid_size = self.valid_size(*size)
        if valid_size == size:
            return super().noise_levels(shape)
        levels = self.extended_noise(size, valid_size)
        # Blocks that are their own mirror image have coefficients that are 0 up to rounding.
        return lay_out(torch.where(levels > NO_NOISE, levels, 0).flatten(), size)

    def check_filters(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that are extended: shrinkage filters are then not symmetric."""
        self.check_shape(shape)
        if self.is_extended(shape):
            height, width = self.valid_size(*shape[-2:])
            raise ValueError(
                f"images of {shape[-2]}x{shape[-1]} are extended in this basis, and filters are compared only without "
                f"extension; accepted: sizes such as {height}x{width}"
            )


def next_multiples(height: int, width: int, multiple: int) -> Size:
    """Return the smallest multiples that are not smaller than the sides."""
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def mirror_indices(size: int, extended: int) -> Tensor:
    """Return the index of the sample that each of ``extended`` samples repeats, by reflections of ``size`` samples."""
    indices = torch.arange(extended) % (2 * size)
    return torch.minimum(indices, 2 * size - 1 - indices)


def extend(images: Tensor, size: Size) -> Tensor:
    """Extend images (..., H, W) below and to the right by their mirror image to a size."""
    for axis, extended in zip((-2, -1), size, strict=True):
        if images.shape[axis] != extended:
            images = images.index_select(axis, mirror_indices(images.shape[axis], extended).to(images.device))
    return images


def fold(rows: Tensor, size: int) -> Tensor:
    """Convert functionals of extended signals, shape (..., extended), to functionals of the signals, (..., size)."""
    indices = mirror_indices(size, rows.shape[-1]).to(rows.device)
    return rows.new_zeros(*rows.shape[:-1], size).index_add(-1, indices, rows)


def lay_out(vectors: Tensor, size: Size) -> Tensor:
    """Reshape vectors (..., M), padded with zeros, to (..., K, H, W) with the smallest K."""
    pixels = math.prod(size)
    layers = -(-vectors.shape[-1] // pixels)
    padded = torch.nn.functional.pad(vectors, (0, layers * pixels - vectors.shape[-1]))
    return padded.reshape(*vectors.shape[:-1], layers, *size)


def first_layer(vectors: Tensor, size: Size) -> Tensor:
    """Return the first H W entries of vectors (..., M) in the shape (..., H, W)."""
    return vectors[..., : math.prod(size)].reshape(*vectors.shape[:-1], *size)


def _size(images: Tensor) -> Size:
    return images.shape[-2], images.shape[-1]
