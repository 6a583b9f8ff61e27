"""Orthonormal and biorthogonal wavelets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pywt
import torch
from torch import Tensor

from gahbench import Shape
from gahbench._util.errors import suggestion

from .._papers import MALLAT_1989
from .._tensors import cache_tensors
from ._extension import Extended, Size, first_layer, folded, next_multiples


def _names_of(*families: str) -> tuple[str, ...]:
    return tuple(name for name in pywt.wavelist(kind="discrete") if name.rstrip("0123456789.") in families)


#: Names of the wavelets that are orthogonal to machine precision.
ORTHOGONAL = _names_of("haar", "db", "sym", "coif")
#: Those that are not: ``dmey`` is so only to about 1e-4, as its filter is a truncated one.
BIORTHOGONAL = _names_of("bior", "rbio", "dmey")

ACCEPTED = "haar, db1 to db38, sym2 to sym20, coif1 to coif17"

#: Without ``levels``, the approximation does not get smaller than this.
SMALLEST_APPROXIMATION = 4

#: Without ``levels``, odd sides are continued so that they can be halved as often at most.
DEEPEST_EXTENDED = 5


#: An approximation whose shorter side has this number of pixels is no coarse scale: it holds much of the noise.
COARSE = 16


class Wavelet(Extended):
    """Separable wavelet transform with periodic boundaries, orthonormal or biorthogonal.

    Mallat's pyramid (Mallat 1989) with the filters of PyWavelets; the coefficients are those of
    ``pywt.wavedec2(..., mode="periodization")`` laid out by ``pywt.coeffs_to_array``: approximation at the
    top left, finest details in the right and lower halves.

    The families haar, db, sym and coif are orthonormal. The biorthogonal ones, bior and rbio, and dmey, which is
    orthogonal only to about 1e-4, are not: their noise has the standard deviations of :meth:`noise_levels`, and
    synthesis is the exact inverse of analysis. For bior and rbio that is what the dual filters of
    ``pywt.waverec2`` compute; for dmey it reconstructs exactly where ``pywt.waverec2`` errs by almost 1 %.

    Every size of image is taken. Sides that cannot be halved so often are continued below and to the right by the
    mirror image (half-sample symmetric) to the next multiples of 2^levels; synthesis crops. There the noise of
    coefficients is not white, its standard deviations are those of :meth:`noise_levels`, and the coefficients, more
    than the pixels, are laid out as one vector, followed by zeros, in the shape (K, H, W).

    Parameters
    ----------
    name
        A wavelet of PyWavelets: of the families haar, db, sym, coif, bior, rbio, or dmey.
    levels
        How often the sides are halved. By default as often as both sides stay even and the approximation at
        least 4 pixels wide. As nothing but the periodic boundary limits the depth, this goes deeper than
        ``pywt.dwt_max_level``, which stops at the length of the filter. Where a side is odd, both are continued
        to the next multiples of 2^J, where J is how often the shorter one is halved to 4 pixels, at least 1 and
        at most 5, and then halved as often as these allow.

    Raises
    ------
    ValueError
        If no such wavelet exists.

    Examples
    --------
    >>> import torch
    >>> coefficients = Wavelet("haar", levels=1).analysis(torch.ones(1, 1, 4, 4))
    >>> coefficients[0, 0, :2, :2].round().tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """

    citation = MALLAT_1989
    label_parameters = ("name",)

    def __init__(self, name: str = "sym4", levels: int | None = None) -> None:
        accepted = ORTHOGONAL + BIORTHOGONAL
        if name not in accepted:
            raise ValueError(
                f"'{name}' is not a discrete wavelet{suggestion(name, accepted) or ';'} "
                f"accepted: {ACCEPTED}, {', '.join(BIORTHOGONAL)}"
            )
        if levels is not None and levels < 1:
            raise ValueError(f"levels={levels}: accepted are 1, 2, ... or null for as many as make sense")
        self.name = name
        self.levels = levels
        self.orthonormal = name in ORTHOGONAL

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) with sides shorter than 2^levels, where ``levels`` are given."""
        check_sides("wavelet", self.levels, shape)

    def notes(self, shape: Shape) -> tuple[str, ...]:
        """Say where images (C, H, W) are continued, or their sides can be halved less often than they should."""
        if self.is_extended(shape):
            return super().notes(shape)
        sizes = self._sizes(shape[-2], shape[-1])
        height, width = sizes[-1][0] // 2, sizes[-1][1] // 2
        if self.levels is not None or min(height, width) < COARSE:
            return ()
        depth = f"{len(sizes)} level{'s' if len(sizes) > 1 else ''} of wavelets"
        return (
            f"only {depth}: sides of {shape[-2]}x{shape[-1]} are halved to {height}x{width}, which is odd; the coarse "
            f"scale holds much of the noise; levels={DEEPEST_EXTENDED} would continue the images",
        )

    def fitting(self, height: int, width: int) -> Size:
        """Return the next sides that can be halved ``levels`` times; without, even ones as they are."""
        levels = self.levels
        if levels is None:
            if height % 2 == width % 2 == 0:
                return height, width
            levels = 1
            while levels < DEEPEST_EXTENDED and min(height, width) >> (levels + 1) >= SMALLEST_APPROXIMATION:
                levels += 1
        return next_multiples(height, width, 1 << levels)

    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W), of images whose sides can be halved."""
        _, *others = self._sizes(images.shape[-2], images.shape[-1])
        coefficients = self._one_level(images, wavelet_matrix)
        for height, width in others:
            corner = coefficients[..., :height, :width]
            corner.copy_(self._one_level(corner, wavelet_matrix))
        return coefficients

    def backward(self, coefficients: Tensor, size: Size) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        _, *others = self._sizes(*size)
        images = first_layer(coefficients, size).clone()
        for height, width in reversed(others):
            corner = images[..., :height, :width]
            corner.copy_(self._one_level(corner, wavelet_inverse))
        return self._one_level(images, wavelet_inverse)

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviation of each coefficient of unit white noise: float64, as ``bands``, or 1."""
        if self.orthonormal or self.is_extended(shape):
            return super().noise_levels(shape)
        return self.extended_noise((shape[-2], shape[-1]), (shape[-2], shape[-1]))

    def extended_noise(self, size: Size, fitting: Size) -> Tensor:
        """Return the standard deviations of extended unit white noise, float64, shape (H, W): products of norms."""
        sizes = self._sizes(*fitting)
        rows = _composite_norms(self.name, tuple(height for height, _ in sizes), size[0])
        columns = _composite_norms(self.name, tuple(width for _, width in sizes), size[1])
        levels = torch.empty(fitting, dtype=torch.float64)
        # A level's approximation is the corner that the next level overwrites.
        for (height, width), down, across in zip(sizes, rows, columns, strict=True):
            levels[:height, :width] = down[:, None] * across
        return levels

    def fitting_bands(self, size: Size) -> Tensor:
        """Return labels of shape (H, W): 0 the approximation, then three subbands a level, coarsest first."""
        labels = torch.zeros(size, dtype=torch.long)
        sizes = self._sizes(*size)
        for level, (height, width) in enumerate(reversed(sizes)):
            top, left = height // 2, width // 2
            labels[top:height, :left] = 3 * level + 1
            labels[:top, left:width] = 3 * level + 2
            labels[top:height, left:width] = 3 * level + 3
        return labels

    def _sizes(self, height: int, width: int) -> list[Size]:
        """Return the sizes that are halved, level by level, of images of a size that fits."""
        if self.levels is not None:
            return [(height >> level, width >> level) for level in range(self.levels)]
        sizes = [(height, width)]
        height, width = height // 2, width // 2
        while height % 2 == width % 2 == 0 and min(height, width) // 2 >= SMALLEST_APPROXIMATION:
            sizes.append((height, width))
            height, width = height // 2, width // 2
        return sizes

    def _one_level(self, images: Tensor, matrix: Callable[[str, int, torch.dtype, torch.device], Tensor]) -> Tensor:
        """Transform images by a level, or back, by the matrices of their rows and columns."""
        rows, columns = (matrix(self.name, side, images.dtype, images.device) for side in images.shape[-2:])
        return rows @ images @ columns.T


def check_sides(basis: str, levels: int | None, shape: Shape) -> None:
    """Raise ``ValueError`` for images (C, H, W) with sides shorter than 2^levels, where ``levels`` are given."""
    if levels is not None and min(shape[-2:]) < 1 << levels:
        raise ValueError(
            f"{basis} with levels={levels} needs image sides of at least {1 << levels}, not {shape[-2]}x{shape[-1]}"
        )


def check_orthogonal(name: str) -> None:
    """Raise ``ValueError`` for a text that is not the name of an orthogonal wavelet."""
    if name not in ORTHOGONAL:
        raise ValueError(
            f"'{name}' is not an orthogonal wavelet{suggestion(name, ORTHOGONAL) or ';'} accepted: {ACCEPTED}"
        )


@cache_tensors(128)
def wavelet_matrix(
    name: str, size: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Tensor:
    """Return one level of the periodic transform as a matrix of shape (size, size), orthogonal if the wavelet is."""
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


@cache_tensors(128)
def wavelet_inverse(
    name: str, size: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the inverse of :func:`wavelet_matrix`, shape (size, size): its transpose where it is orthogonal."""
    if name in ORTHOGONAL:
        return wavelet_matrix(name, size, dtype, device).T
    inverse: Tensor = torch.linalg.inv(wavelet_matrix(name, size))
    return inverse.to(device=device, dtype=dtype)


@cache_tensors(128)
def _composite_norms(name: str, sizes: tuple[int, ...], signal: int) -> tuple[Tensor, ...]:
    """Return, level by level, the norms of the rows that compute all coefficients of the level from the signal."""
    approximation = torch.eye(sizes[0], dtype=torch.float64)
    norms = []
    for size in sizes:
        composite = wavelet_matrix(name, size) @ approximation
        norms.append(folded(composite, signal).norm(dim=1))
        approximation = composite[: size // 2]
    return tuple(norms)
