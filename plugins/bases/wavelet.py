"""Orthonormal and biorthogonal wavelets."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated

import numpy as np
import pywt
import torch
from pydantic import Field
from torch import Tensor

from gahbench import Shape
from gahbench_plugins.bases.extended import Extended, Size, fold


def _names(*families: str) -> tuple[str, ...]:
    return tuple(name for name in pywt.wavelist(kind="discrete") if name.rstrip("0123456789.") in families)


#: Names of the wavelets that are orthogonal to machine precision.
ORTHOGONAL = _names("haar", "db", "sym", "coif")
#: Names of other wavelets; ``dmey`` is orthogonal only to about 1e-4, since its filter is truncated.
BIORTHOGONAL = _names("bior", "rbio", "dmey")
#: Without ``levels``, minimum side of the approximation.
SMALLEST_APPROXIMATION = 4
#: Without ``levels``, maximum number of times that extended odd sides can be halved.
DEEPEST_EXTENDED = 5
#: The shorter side of a coarse scale is below this number of pixels; larger approximations contain much of the noise.
COARSE = 16

Levels = Annotated[int, Field(ge=1)] | None


class Wavelet(Extended):
    """Separable wavelet transform with periodic boundaries, orthonormal or biorthogonal.

    The transform is Mallat's pyramid (Mallat 1989) with the filters of PyWavelets. Its coefficients are those of
    ``pywt.wavedec2(..., mode="periodization")``, arranged by ``pywt.coeffs_to_array``: the approximation is at the top
    left, and the finest details are in the right and lower halves.

    The families haar, db, sym and coif are orthonormal. The biorthogonal families bior and rbio are not, and dmey is
    orthogonal only to about 1e-4: their noise has the standard deviations of :meth:`noise_levels`, and synthesis is the
    exact inverse of analysis. For bior and rbio, this inverse equals the dual filters of ``pywt.waverec2``; for dmey,
    ``pywt.waverec2`` has an error of almost 1 %.

    Images of every size are transformed. Sides that cannot be halved ``levels`` times are extended below and to the
    right by the mirror image (half-sample symmetric) to the next multiples of 2^levels, and cropped in synthesis. Then
    the noise of coefficients is not white and has the standard deviations of :meth:`noise_levels`. There are more
    coefficients than pixels; they are stored as a vector, padded with zeros, in the shape (K, H, W).

    Parameters
    ----------
    name
        Name of a wavelet in PyWavelets: dmey, or a member of the families haar, db, sym, coif, bior and rbio.
    levels
        Number of times that the sides are halved. By default sides are halved while both are even and the approximation
        has at least 4 pixels per side. The depth is limited only by the periodic boundary, and may exceed
        ``pywt.dwt_max_level``, which depends on the length of the filter. If a side is odd, both sides are extended to
        the next multiples of 2^J, where J is the number of times that the shorter side can be halved to 4 pixels, at
        least 1 and at most 5, and then halved as often as possible.

    Raises
    ------
    ValueError
        If the wavelet does not exist.

    Examples
    --------
    >>> import torch
    >>> coefficients = Wavelet("haar", levels=1).analysis(torch.ones(1, 1, 4, 4))
    >>> coefficients[0, 0, :2, :2].round().tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """

    display_name = "{name:text} wavelets"
    citation = "mallat-1989"
    label_parameters = ("name",)

    def __init__(self, name: str = "sym4", levels: Levels = None) -> None:
        check_name(name, BIORTHOGONAL)
        self.name = name
        self.levels = levels
        self.orthonormal = name in ORTHOGONAL

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) with sides shorter than 2^levels, if ``levels`` is given."""
        check_sides(self.levels, shape)

    def notes(self, shape: Shape) -> tuple[str, ...]:
        """Return a note if images (C, H, W) are extended, or their sides cannot be halved often enough."""
        depth = self.depth(*shape[-2:])
        height, width = shape[-2] >> depth, shape[-1] >> depth
        if self.is_extended(shape) or self.levels is not None or min(height, width) < COARSE:
            return super().notes(shape)
        return (
            f"only {depth} level{'s' if depth > 1 else ''} of wavelets: sides of {shape[-2]}x{shape[-1]} are halved to "
            f"{height}x{width}, which is odd; the coarse scale contains much of the noise; levels={DEEPEST_EXTENDED} "
            "would extend the images",
        )

    def valid_size(self, height: int, width: int) -> Size:
        """Return the next sides that can be halved ``levels`` times; without ``levels``, keep even sides."""
        levels = self.levels
        if levels is None:
            if height % 2 == width % 2 == 0:
                return height, width
            levels = 1
            while levels < DEEPEST_EXTENDED and min(height, width) >> (levels + 1) >= SMALLEST_APPROXIMATION:
                levels += 1
        return -(-height >> levels) << levels, -(-width >> levels) << levels

    def depth(self, height: int, width: int) -> int:
        """Return the number of levels of images of a valid size."""
        if self.levels is not None:
            return self.levels
        depth = 1
        while (height | width) % (2 << depth) == 0 and min(height, width) >> (depth + 1) >= SMALLEST_APPROXIMATION:
            depth += 1
        return depth

    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W), of images whose sides can be halved."""
        height, width = images.shape[-2:]
        depth = self.depth(height, width)
        coefficients = self._transform_level(images, wavelet_matrix) if depth else images
        for level in range(1, depth):
            corner = coefficients[..., : height >> level, : width >> level]
            corner.copy_(self._transform_level(corner, wavelet_matrix))
        return coefficients

    def backward(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        height, width = coefficients.shape[-2:]
        depth, images = self.depth(height, width), coefficients.clone()
        for level in reversed(range(1, depth)):
            corner = images[..., : height >> level, : width >> level]
            corner.copy_(self._transform_level(corner, wavelet_inverse))
        return self._transform_level(images, wavelet_inverse) if depth else images

    def extended_noise(self, size: Size, valid_size: Size) -> Tensor:
        """Return the standard deviations of coefficients of extended unit white noise, float64, shape (H, W)."""
        (height, width), depth = valid_size, self.depth(*valid_size)
        rows, columns = (packet_norms(self.name, *sides, depth) for sides in zip(size, valid_size, strict=True))
        levels = torch.empty(valid_size, dtype=torch.float64)
        # Each level overwrites the approximation of the level before.
        for level, (down, across) in enumerate(zip(rows, columns, strict=True)):
            levels[: height >> level, : width >> level] = down[: height >> level, None] * across[: width >> level]
        return levels

    def extended_bands(self, size: Size) -> Tensor:
        """Return labels of shape (H, W): 0 for the approximation, then three subbands per level, coarse to fine."""
        labels, depth = torch.zeros(size, dtype=torch.long), self.depth(*size)
        for level in range(depth):
            height, width = (side >> (depth - level) for side in size)
            labels[height : 2 * height, :width] = 3 * level + 1
            labels[:height, width : 2 * width] = 3 * level + 2
            labels[height : 2 * height, width : 2 * width] = 3 * level + 3
        return labels

    def _transform_level(self, images: Tensor, matrix: Callable[..., Tensor]) -> Tensor:
        """Multiply the rows and columns of images by the matrices of a level, or of its inverse."""
        rows, columns = (matrix(self.name, side, images.dtype, images.device) for side in images.shape[-2:])
        return rows @ images @ columns.T


def check_name(name: str, others: tuple[str, ...] = ()) -> None:
    """Raise ``ValueError`` for a name that is neither an orthogonal wavelet nor one of the others."""
    if name not in ORTHOGONAL + others:
        accepted = ", ".join(("haar, db1 to db38, sym2 to sym20, coif1 to coif17", *others))
        raise ValueError(f"'{name}' is not {'a discrete' if others else 'an orthogonal'} wavelet; accepted: {accepted}")


def check_sides(levels: int | None, shape: Shape) -> None:
    """Raise ``ValueError`` for images (C, H, W) with sides shorter than 2^levels, if ``levels`` is given."""
    if levels is not None and min(shape[-2:]) < 1 << levels:
        raise ValueError(f"levels={levels} needs image sides of at least {1 << levels}, not {shape[-2]}x{shape[-1]}")


# Tensors that were created for inference have no derivatives, so that they must not be cached.
@functools.lru_cache(maxsize=128)
@torch.inference_mode(False)
def wavelet_matrix(
    name: str, size: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Tensor:
    """Return a level of the periodic transform as a (size, size) matrix, orthogonal if the wavelet is orthogonal."""
    wavelet = pywt.Wavelet(name)
    taps = wavelet.dec_len
    outputs = np.arange(size // 2)
    # PyWavelets centres the filter: output n is sum_k h[k] x[2n + taps/2 - k], with indices modulo the size.
    columns = (2 * outputs[:, None] + taps // 2 - np.arange(taps)) % size
    matrix = np.zeros((2, size // 2, size))
    for rows, filter_taps in zip(matrix, (wavelet.dec_lo, wavelet.dec_hi), strict=True):
        np.add.at(rows, (outputs[:, None], columns), filter_taps)
    return torch.from_numpy(matrix).flatten(0, 1).to(device=device, dtype=dtype)


@functools.lru_cache(maxsize=128)
@torch.inference_mode(False)
def wavelet_inverse(
    name: str, size: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the inverse of :func:`wavelet_matrix`, shape (size, size): its transpose if it is orthogonal."""
    if name in ORTHOGONAL:
        return wavelet_matrix(name, size, dtype, device).T
    inverse: Tensor = torch.linalg.inv(wavelet_matrix(name, size))
    return inverse.to(device=device, dtype=dtype)


def packet_rows(name: str, size: int, levels: int) -> list[Tensor]:
    """Return the matrices that split a signal into all wavelet packets of each level, float64, shape (size, size)."""
    rows = [torch.eye(size, dtype=torch.float64)]
    for level in range(levels):
        split = wavelet_matrix(name, size >> level) @ torch.unflatten(rows[-1], 0, (1 << level, -1))
        rows.append(split.flatten(0, 1))
    return rows[1:]


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)
def packet_norms(name: str, size: int, extended: int, levels: int) -> tuple[Tensor, ...]:
    """Return the standard deviations of all packets of each level of white noise that is extended, float64."""
    return tuple(fold(rows, size).norm(dim=1) for rows in packet_rows(name, extended, levels))
