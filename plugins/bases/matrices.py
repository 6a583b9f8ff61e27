"""Orthonormal bases as matrices, for each image or shared by all images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gahbench import Basis, BasisError, Shape

#: Maximum size of a matrix, which takes 128 MiB in float64.
MAX_SIZE = 4096
#: Maximum number of bytes of the matrices of a batch of images.
MAX_BYTES = 2**30


class Matrices(Basis):
    """Orthonormal bases of images, or of channels of images, as columns of matrices.

    Parameters
    ----------
    vectors
        Shape (N, d, d), for N images, or (1, d, d), for any number of images, with d = H W or C H W.
    """

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors
        self._copies: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W)."""
        return self._product(images, transposed=False)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        return self._product(coefficients, transposed=True)

    def bands(self, shape: Shape) -> Tensor:
        """Return labels, (1, H, W), or (C, H, W) if channels are transformed jointly; 0 for the first vector."""
        return octaves(self.vectors.shape[1]).reshape(-1, *shape[1:])

    def atoms(self, shape: Shape) -> Tensor:
        """Return the transposed matrices, shape (N, d, d), with a block for each channel."""
        return block_diagonal(self.vectors.mT.contiguous(), math.prod(shape) // self.vectors.shape[1])

    def _product(self, images: Tensor, transposed: bool) -> Tensor:
        count, size, _ = self.vectors.shape
        if count not in (1, len(images)) or images[0].numel() % size:
            raise BasisError(
                f"images of shape {tuple(images.shape)}; accepted by this basis: {count} images with {size} values, or "
                f"{size} values per channel"
            )
        key = (images.dtype, images.device)
        if key not in self._copies:
            self._copies[key] = self.vectors.to(images)
        vectors = self._copies[key].mT if transposed else self._copies[key]
        values = images.reshape(-1, size) if count == 1 else images.reshape(count, -1, size)
        return (values @ (vectors[0] if count == 1 else vectors)).reshape(images.shape)


def block_diagonal(matrices: Tensor, channels: int) -> Tensor:
    """Return block-diagonal matrices, shape (N, C d, C d), that apply a matrix of (N, d, d) to each of C channels."""
    if channels == 1:
        return matrices
    eye = torch.eye(channels, dtype=matrices.dtype, device=matrices.device)
    return torch.stack([torch.kron(eye, matrix) for matrix in matrices])


def check_values(shape: Shape, description: str) -> None:
    """Raise ``ValueError`` for images (C, H, W) whose matrix over all values would be too large."""
    if math.prod(shape) > MAX_SIZE:
        raise ValueError(
            f"{description} of all values of an image; accepted: images of up to {MAX_SIZE} values (64x64 grey), not "
            f"{'x'.join(map(str, shape))}"
        )


def octaves(count: int) -> Tensor:
    """Return the octave of the square root of each index below ``count``: 0, then 1 for 1 to 3, 2 for 4 to 15, ..."""
    # frexp returns the number of binary digits of an integer.
    digits = torch.frexp(torch.arange(count, dtype=torch.float64)).exponent.long()
    return (digits + 1) // 2


def complete(vectors: Tensor) -> Tensor:
    """Complete orthonormal columns to square matrices, orthonormal in float64."""
    if vectors.shape[-1] == vectors.shape[-2] and vectors.dtype == torch.float64:
        return vectors
    full: Tensor
    full, triangle = torch.linalg.qr(vectors.double(), mode="complete")
    # The factorization may change the signs of vectors.
    full[..., : vectors.shape[-1]] *= triangle.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    return full


def max_matrices(size: int) -> int:
    """Return the number of (size, size) matrices that fit into 1 GiB with copies in float32, at least 1."""
    return max(1, MAX_BYTES // (12 * size**2))
