"""The discrete cosine transform of blocks."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, Shape

from .._papers import WALLACE_1992
from .dct import dct_matrix


class BlockDCT(Basis):
    """Orthonormal two-dimensional DCT-II of blocks that do not overlap, as in JPEG (Wallace 1992).

    The coefficients of a block lie where its pixels were, lowest frequency at the top left of the block.

    Parameters
    ----------
    size
        Side of the square blocks, in pixels; the sides of the images must be multiples of it.
    """

    citation = WALLACE_1992
    label_parameters = ("size",)

    def __init__(self, size: Annotated[int, Field(ge=1)] = 8) -> None:
        if size < 1:
            raise ValueError(f"size={size}: accepted are 1, 2, ...")
        self.size = size

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) whose sides are no multiples of the block's."""
        height, width = shape[-2:]
        if height % self.size or width % self.size:
            raise ValueError(
                f"block-dct with size={self.size} needs image sides that are multiples of {self.size}, "
                f"not {height}x{width}; {_accepted(height, width)}"
            )

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W)."""
        return self._transform(images, dct_matrix(self.size, images.dtype, images.device))

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        return self._transform(coefficients, dct_matrix(self.size, coefficients.dtype, coefficients.device).T)

    def bands(self, shape: Shape) -> Tensor:
        """Return labels of shape (H, W): k + l of the frequency (k, l), so 0 for the means of blocks."""
        self.check_shape(shape)
        frequencies = torch.arange(self.size)
        labels = frequencies[:, None] + frequencies
        return labels.repeat(shape[-2] // self.size, shape[-1] // self.size)

    def _transform(self, images: Tensor, matrix: Tensor) -> Tensor:
        """Multiply every block from the left by the matrix and from the right by its transpose."""
        count, channels, height, width = images.shape
        self.check_shape((channels, height, width))
        down = matrix @ images.reshape(count, channels, -1, self.size, width)
        across = down.reshape(count, channels, height, -1, self.size) @ matrix.T
        return across.reshape(images.shape)


def _accepted(height: int, width: int) -> str:
    """Say which sizes of blocks such images can have."""
    sizes = [size for size in range(1, min(height, width) + 1) if height % size == width % size == 0]
    return f"such images have blocks of size {', '.join(map(str, sizes))}"
