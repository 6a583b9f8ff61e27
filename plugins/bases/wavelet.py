"""Orthonormal wavelets."""

from __future__ import annotations

import functools

import numpy as np
import pywt
import torch
from torch import Tensor

from gahbench.contracts import Basis, Shape
from gahbench.errors import suggestion

#: Families that are orthogonal to machine precision; ``dmey`` is so only to about 1e-4.
FAMILIES = ("haar", "db", "sym", "coif")

#: Without ``levels``, the approximation does not get smaller than this.
SMALLEST_APPROXIMATION = 4


class Wavelet(Basis):
    """Orthonormal separable wavelet transform with periodic boundaries.

    Mallat's pyramid (Mallat 1989) with the filters of PyWavelets; the coefficients are those of
    ``pywt.wavedec2(..., mode="periodization")`` laid out by ``pywt.coeffs_to_array``: approximation at the
    top left, finest details in the right and lower halves.

    Parameters
    ----------
    name
        An orthogonal wavelet of the families haar, db, sym and coif.
    levels
        How often the sides are halved. By default as often as both sides stay even and the approximation at
        least 4 pixels wide, but at least once. As nothing but the periodic boundary limits the depth, this
        goes deeper than ``pywt.dwt_max_level``, which stops at the length of the filter.

    Raises
    ------
    ValueError
        If no such orthogonal wavelet exists.

    Examples
    --------
    >>> import torch
    >>> coefficients = Wavelet("haar", levels=1).analysis(torch.ones(1, 1, 4, 4))
    >>> coefficients[0, 0, :2, :2].round().tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """

    always_shown = ("name",)

    def __init__(self, name: str = "sym4", levels: int | None = None) -> None:
        accepted = accepted_names()
        if name not in accepted:
            raise ValueError(
                f"'{name}' is not an orthogonal wavelet{suggestion(name, accepted) or ';'} "
                "accepted: haar, db1 to db38, sym2 to sym20, coif1 to coif17"
            )
        if levels is not None and levels < 1:
            raise ValueError(f"levels={levels}: accepted are 1, 2, ... or null for as many as make sense")
        self.name = name
        self.levels = levels

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) whose sides cannot be halved often enough."""
        self._sizes(shape[-2], shape[-1])

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W), in the dtype and on the device of the images."""
        coefficients = images
        for height, width in self._sizes(images.shape[-2], images.shape[-1]):
            rows, columns = self._matrices(height, width, images)
            block = rows @ coefficients[..., :height, :width] @ columns.T
            coefficients = _replace_corner(coefficients, block)
        return coefficients

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        images = coefficients
        for height, width in reversed(self._sizes(images.shape[-2], images.shape[-1])):
            rows, columns = self._matrices(height, width, images)
            images = _replace_corner(images, rows.T @ images[..., :height, :width] @ columns)
        return images

    def bands(self, shape: Shape) -> Tensor:
        """Return labels of shape (H, W): 0 the approximation, then three subbands a level, coarsest first."""
        labels = torch.zeros(shape[-2:], dtype=torch.long)
        sizes = self._sizes(shape[-2], shape[-1])
        for level, (height, width) in enumerate(reversed(sizes)):
            top, left = height // 2, width // 2
            labels[top:height, :left] = 3 * level + 1
            labels[:top, left:width] = 3 * level + 2
            labels[top:height, left:width] = 3 * level + 3
        return labels

    def _sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return the sizes of what is halved, level by level."""
        if self.levels is not None:
            multiple = 2**self.levels
            if height % multiple or width % multiple:
                raise ValueError(
                    f"wavelet with levels={self.levels} needs image sides that are multiples of {multiple}, "
                    f"not {height}x{width}"
                )
            return [(height >> level, width >> level) for level in range(self.levels)]
        if height % 2 or width % 2:
            raise ValueError(f"wavelet needs even image sides, not {height}x{width}")
        sizes = [(height, width)]
        height, width = height // 2, width // 2
        while height % 2 == width % 2 == 0 and min(height, width) // 2 >= SMALLEST_APPROXIMATION:
            sizes.append((height, width))
            height, width = height // 2, width // 2
        return sizes

    def _matrices(self, height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
        return (
            wavelet_matrix(self.name, height, like.dtype, like.device),
            wavelet_matrix(self.name, width, like.dtype, like.device),
        )


@functools.lru_cache(maxsize=1)
def accepted_names() -> tuple[str, ...]:
    """Return the names of all accepted wavelets."""
    return tuple(name for name in pywt.wavelist(kind="discrete") if name.rstrip("0123456789") in FAMILIES)


@functools.lru_cache(maxsize=128)
def wavelet_matrix(
    name: str, size: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Tensor:
    """Return one level of the periodic transform as an orthogonal matrix of shape (size, size).

    The upper half of the rows computes the approximation, the lower half the details. A matrix product is
    exact for filters of any length, even longer than the signal, and at benchmark sizes as fast as a
    convolution.
    """
    wavelet = pywt.Wavelet(name)
    filters = np.stack([wavelet.dec_lo, wavelet.dec_hi])
    taps = filters.shape[1]
    outputs = np.arange(size // 2)
    # PyWavelets centres the filter: output n is sum_k h[k] x[2n + taps/2 - k], indices modulo the size.
    columns = (2 * outputs[:, None] + taps // 2 - np.arange(taps)) % size
    matrix = np.zeros((size, size))
    for half, taps_of_half in enumerate(filters):
        rows = outputs[:, None] + half * (size // 2)
        np.add.at(matrix, (rows, columns), taps_of_half)
    return torch.from_numpy(matrix).to(device=device, dtype=dtype)


def _replace_corner(images: Tensor, corner: Tensor) -> Tensor:
    """Return images whose top left corner is another's."""
    height, width = corner.shape[-2:]
    if corner.shape == images.shape:
        return corner
    lower = images[..., height:, :]
    right = images[..., :height, width:]
    return torch.cat([torch.cat([corner, right], dim=-1), lower], dim=-2)
