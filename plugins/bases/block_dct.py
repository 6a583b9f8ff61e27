"""The discrete cosine transform of blocks."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench_plugins.bases.dct import dct_matrix
from gahbench_plugins.bases.extended import Extended, Size, fold


class BlockDCT(Extended):
    """Orthonormal two-dimensional DCT-II of non-overlapping blocks, as in JPEG (Wallace 1992).

    The coefficients of a block are in the positions of its pixels, with the lowest frequency at the top left of the
    block. If the sides of an image are not multiples of the block's side, the image is extended to the next multiples
    by its mirror image, and cropped in synthesis. Then the basis is not orthonormal, and the coefficients form a
    vector.

    Parameters
    ----------
    size
        Side of the square blocks, in pixels.
    """

    display_name = "block DCT"
    citation = "wallace-1992"
    label_parameters = ("size",)

    def __init__(self, size: Annotated[int, Field(ge=1)] = 8) -> None:
        self.size = size

    def valid_size(self, height: int, width: int) -> Size:
        """Return the next multiples of the side of a block."""
        return -(-height // self.size) * self.size, -(-width // self.size) * self.size

    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W), of images whose sides are multiples of the block's side."""
        return self._transform(images, dct_matrix(self.size, images.dtype, images.device))

    def backward(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        return self._transform(coefficients, dct_matrix(self.size, coefficients.dtype, coefficients.device).T)

    def extended_bands(self, size: Size) -> Tensor:
        """Return labels k + l of frequencies (k, l), shape (H, W); 0 for the means of blocks."""
        frequencies = torch.arange(self.size)
        labels = frequencies[:, None] + frequencies
        return labels.repeat(size[0] // self.size, size[1] // self.size)

    def extended_noise(self, size: Size, valid_size: Size) -> Tensor:
        """Return the standard deviations of coefficients of extended unit white noise, float64, shape (H, W)."""
        norms: list[Tensor] = []
        for side, extended in zip(size, valid_size, strict=True):
            blocks = torch.kron(torch.eye(extended // self.size, dtype=torch.float64), dct_matrix(self.size))
            norms.append(fold(blocks, side).norm(dim=1))
        return norms[0][:, None] * norms[1]

    def _transform(self, images: Tensor, matrix: Tensor) -> Tensor:
        """Multiply every block from the left by the matrix and from the right by its transpose."""
        down = matrix @ torch.unflatten(images, 2, (-1, self.size))
        across = torch.unflatten(down.flatten(2, 3), 3, (-1, self.size)) @ matrix.T
        return across.flatten(3)
