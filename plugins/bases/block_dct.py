"""The discrete cosine transform of blocks."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from .._papers import WALLACE_1992
from ._extension import Extended, Size, first_layer, folded, next_multiples
from .dct import dct_matrix


class BlockDCT(Extended):
    """Orthonormal two-dimensional DCT-II of blocks that do not overlap, as in JPEG (Wallace 1992).

    The coefficients of a block lie where its pixels were, lowest frequency at the top left of the block. Images whose
    sides are no multiples of the block's are continued to the next ones by their mirror image, and cropped in
    synthesis; the basis is not orthonormal for them, and coefficients are laid out as one vector.

    Parameters
    ----------
    size
        Side of the square blocks, in pixels.
    """

    citation = WALLACE_1992
    label_parameters = ("size",)

    def __init__(self, size: Annotated[int, Field(ge=1)] = 8) -> None:
        self.size = size

    def fitting(self, height: int, width: int) -> Size:
        """Return the next multiples of the block's side."""
        return next_multiples(height, width, self.size)

    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W), of images that are cut into whole blocks."""
        return self._transform(images, dct_matrix(self.size, images.dtype, images.device))

    def backward(self, coefficients: Tensor, size: Size) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        blocks = first_layer(coefficients, size)
        return self._transform(blocks, dct_matrix(self.size, coefficients.dtype, coefficients.device).T)

    def fitting_bands(self, size: Size) -> Tensor:
        """Return labels of shape (H, W): k + l of the frequency (k, l), so 0 for the means of blocks."""
        frequencies = torch.arange(self.size)
        labels = frequencies[:, None] + frequencies
        return labels.repeat(size[0] // self.size, size[1] // self.size)

    def extended_noise(self, size: Size, fitting: Size) -> Tensor:
        """Return the standard deviations of extended unit white noise, float64, shape (H, W): products of norms."""
        rows, columns = (self._norms(side, extended) for side, extended in zip(size, fitting, strict=True))
        return rows[:, None] * columns

    def _norms(self, side: int, extended: int) -> Tensor:
        blocks = torch.kron(torch.eye(extended // self.size, dtype=torch.float64), dct_matrix(self.size))
        norms: Tensor = folded(blocks, side).norm(dim=1)
        return norms

    def _transform(self, images: Tensor, matrix: Tensor) -> Tensor:
        """Multiply every block from the left by the matrix and from the right by its transpose."""
        count, channels, height, width = images.shape
        down = matrix @ images.reshape(count, channels, -1, self.size, width)
        across = down.reshape(count, channels, height, -1, self.size) @ matrix.T
        return across.reshape(images.shape)
