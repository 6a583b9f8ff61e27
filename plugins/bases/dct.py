"""The global discrete cosine transform."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from gahbench import Basis, Shape


class DCT(Basis):
    """Orthonormal two-dimensional DCT-II of the whole image.

    The basis function of coefficient (k, l) is cos(pi k (i + 1/2) / H) cos(pi l (j + 1/2) / W), scaled to unit norm
    (Ahmed, Natarajan & Rao 1974).
    """

    display_name = "DCT"
    citation = "ahmed-1974"

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W), lowest frequency at the top left."""
        rows, columns = (dct_matrix(side, images.dtype, images.device) for side in images.shape[-2:])
        return rows @ images @ columns.T

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        rows, columns = (dct_matrix(side, coefficients.dtype, coefficients.device) for side in coefficients.shape[-2:])
        return rows.T @ coefficients @ columns

    def bands(self, shape: Shape) -> Tensor:
        """Return labels of shape (H, W): 0 for the mean, then octaves of max(k, l): 1, 2-3, 4-7, ..."""
        rows, columns = (torch.arange(side, dtype=torch.float64) for side in shape[-2:])
        # frexp returns the number of binary digits of an integer.
        return torch.frexp(torch.maximum(rows[:, None], columns)).exponent.long()


def frequency_order(height: int, width: int) -> Tensor:
    """Return the flat indices of coefficients, from low to high frequency, shape (H W,)."""
    rows, columns = torch.arange(height).double() / height, torch.arange(width).double() / width
    return (rows[:, None].square() + columns.square()).flatten().argsort(stable=True)


# Tensors that were created for inference have no derivatives, so that they must not be cached.
@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def dct_matrix(size: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Tensor:
    """Return the orthonormal DCT-II as a matrix of shape (size, size) whose rows are the atoms."""
    indices = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * indices[:, None] * (indices + 0.5)) * math.sqrt(2 / size)
    matrix[0] = 1 / math.sqrt(size)
    return matrix.to(device=device, dtype=dtype)
