"""Base class of bases that exist only for some sizes of images: other images are extended by their mirror image."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from gahbench import Basis, BasisError, Shape

Size = tuple[int, int]
#: Smaller standard deviations, for unit white noise, are rounding errors of 0.
NO_NOISE = 1e-6


class Extended(Basis):
    """Base class of bases with a coefficient for each pixel that exist only for some sizes of images.

    Images of other sizes are extended below and to the right by their mirror image (half-sample symmetric) to the next
    valid size, and cropped in synthesis. Then the basis is not orthonormal, and the noise of the coefficients has the
    standard deviations of :meth:`noise_levels`. The coefficients of an extended image are a vector, padded with zeros,
    in the shape (K, H, W).
    """

    @abstractmethod
    def valid_size(self, height: int, width: int) -> Size:
        """Return the smallest valid size that is not smaller than the given size."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients of images of a valid size, both of shape (N, C, H, W)."""

    @abstractmethod
    def backward(self, coefficients: Tensor) -> Tensor:
        """Return the images of a valid size, given coefficients, both of shape (N, C, H, W)."""

    @abstractmethod
    def extended_bands(self, size: Size) -> Tensor:
        """Return the labels, shape (H, W), of the coefficients of images of a valid size."""

    @abstractmethod
    def extended_noise(self, size: Size, valid_size: Size) -> Tensor:
        """Return the standard deviations of coefficients of unit white noise, extended to a valid size; float64."""

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
        """Return the coefficients, shape (N, C, H, W), or (N, C, K, H, W) if images are extended."""
        size = (images.shape[-2], images.shape[-1])
        return lay_out(self.forward(extend(images, self.valid_size(*size))), size)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        height, width = coefficients.shape[-2:]
        size = self.valid_size(height, width)
        vectors = coefficients.flatten(2)[..., : math.prod(size)]
        return self.backward(vectors.reshape(*vectors.shape[:2], *size))[..., :height, :width]

    def bands(self, shape: Shape) -> Tensor:
        """Return the labels of the coefficients, 0 for the coarse scale; shape (K, H, W) if images are extended."""
        return lay_out(self.extended_bands(self.valid_size(*shape[-2:])), (shape[-2], shape[-1]))

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviations of unit white noise, float64: 1, or in the shape of :meth:`bands`."""
        if self.is_orthonormal(shape):
            return super().noise_levels(shape)
        size = (shape[-2], shape[-1])
        levels = self.extended_noise(size, self.valid_size(*size))
        # Coefficients that cancel on mirror images are 0 up to rounding.
        return lay_out(torch.where(levels > NO_NOISE, levels, 0), size)

    def check_filters(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that are extended: shrinkage filters are then not symmetric."""
        self.check_shape(shape)
        if self.is_extended(shape):
            height, width = self.valid_size(*shape[-2:])
            raise ValueError(
                f"images of {shape[-2]}x{shape[-1]} are extended in this basis, and filters are compared only without "
                f"extension; accepted: sizes such as {height}x{width}"
            )


def check_adapted(basis: Basis, adapted: torch.Size, shape: torch.Size) -> None:
    """Raise ``BasisError`` unless a basis is adapted to images of a shape, or to an image of such a batch."""
    if not adapted:
        call = "adapt_to(truth, threshold)" if basis.oracle else "adapt(images, threshold)"
        raise BasisError(f"{type(basis).__name__} has no basis yet: call {call}, and use the result")
    if shape[1:] != adapted[1:] or adapted[0] not in (1, shape[0]):
        raise BasisError(f"{type(basis).__name__} was adapted to images {tuple(adapted)}, not {tuple(shape)}")


def extend(images: Tensor, size: Size) -> Tensor:
    """Extend images (..., H, W) below and to the right by their mirror image to a size."""
    for axis, extended in zip((-2, -1), size, strict=True):
        if images.shape[axis] != extended:
            images = images.index_select(axis, _mirror_indices(images.shape[axis], extended).to(images.device))
    return images


def fold(rows: Tensor, size: int) -> Tensor:
    """Convert functionals of extended signals, shape (..., extended), to functionals of the signals, (..., size)."""
    indices = _mirror_indices(size, rows.shape[-1])
    return rows.new_zeros(*rows.shape[:-1], size).index_add(-1, indices, rows)


def lay_out(values: Tensor, size: Size) -> Tensor:
    """Return values (..., H, W) of another size in the shape (..., K, *size), smallest K, padded with zeros."""
    if values.shape[-2:] == size:
        return values
    vectors, pixels = values.flatten(-2), math.prod(size)
    layers = -(-vectors.shape[-1] // pixels)
    padded = torch.nn.functional.pad(vectors, (0, layers * pixels - vectors.shape[-1]))
    return padded.reshape(*vectors.shape[:-1], layers, *size)


def _mirror_indices(size: int, extended: int) -> Tensor:
    """Return the index of the sample that each of ``extended`` samples repeats, by reflections of ``size`` samples."""
    indices = torch.arange(extended) % (2 * size)
    return torch.minimum(indices, 2 * size - 1 - indices)
