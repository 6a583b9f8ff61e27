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
from ._extension import Extended, Size, first_layer, fold, next_multiples


def _wavelet_names(*families: str) -> tuple[str, ...]:
    return tuple(name for name in pywt.wavelist(kind="discrete") if name.rstrip("0123456789.") in families)


#: Names of the wavelets that are orthogonal to machine precision.
ORTHOGONAL = _wavelet_names("haar", "db", "sym", "coif")
#: Names of other wavelets; ``dmey`` is orthogonal only to about 1e-4, since its filter is truncated.
BIORTHOGONAL = _wavelet_names("bior", "rbio", "dmey")

ACCEPTED = "haar, db1 to db38, sym2 to sym20, coif1 to coif17"

#: Without ``levels``, minimum side of the approximation.
SMALLEST_APPROXIMATION = 4

#: Without ``levels``, maximum number of times that extended odd sides can be halved.
DEEPEST_EXTENDED = 5


#: The shorter side of a coarse scale is below this number of pixels; larger approximations contain much of the noise.
COARSE = 16


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
            raise ValueError(f"levels={levels}; accepted: 1, 2, ... or null for the default")
        self.name = name
        self.levels = levels
        self.orthonormal = name in ORTHOGONAL

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) with sides shorter than 2^levels, if ``levels`` is given."""
        check_sides("wavelet", self.levels, shape)

    def notes(self, shape: Shape) -> tuple[str, ...]:
        """Return a note if images (C, H, W) are extended, or their sides cannot be halved often enough."""
        if self.is_extended(shape):
            return super().notes(shape)
        sizes = self._sizes(shape[-2], shape[-1])
        height, width = sizes[-1][0] // 2, sizes[-1][1] // 2
        if self.levels is not None or min(height, width) < COARSE:
            return ()
        depth = f"{len(sizes)} level{'s' if len(sizes) > 1 else ''} of wavelets"
        return (
            f"only {depth}: sides of {shape[-2]}x{shape[-1]} are halved to {height}x{width}, which is odd; the coarse "
            f"scale contains much of the noise; levels={DEEPEST_EXTENDED} would extend the images",
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
        return next_multiples(height, width, 1 << levels)

    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W), of images whose sides can be halved."""
        _, *coarser = self._sizes(images.shape[-2], images.shape[-1])
        coefficients = self._transform_level(images, wavelet_matrix)
        for height, width in coarser:
            corner = coefficients[..., :height, :width]
            corner.copy_(self._transform_level(corner, wavelet_matrix))
        return coefficients

    def backward(self, coefficients: Tensor, size: Size) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        _, *coarser = self._sizes(*size)
        images = first_layer(coefficients, size).clone()
        for height, width in reversed(coarser):
            corner = images[..., :height, :width]
            corner.copy_(self._transform_level(corner, wavelet_inverse))
        return self._transform_level(images, wavelet_inverse)

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviations of coefficients of unit white noise, float64: 1, or shaped like ``bands``."""
        if self.orthonormal or self.is_extended(shape):
            return super().noise_levels(shape)
        return self.extended_noise((shape[-2], shape[-1]), (shape[-2], shape[-1]))

    def extended_noise(self, size: Size, valid_size: Size) -> Tensor:
        """Return the standard deviations of coefficients of extended unit white noise, float64, shape (H, W)."""
        sizes = self._sizes(*valid_size)
        rows = _composite_norms(self.name, tuple(height for height, _ in sizes), size[0])
        columns = _composite_norms(self.name, tuple(width for _, width in sizes), size[1])
        levels = torch.empty(valid_size, dtype=torch.float64)
        # Each level overwrites the approximation of the level before.
        for (height, width), down, across in zip(sizes, rows, columns, strict=True):
            levels[:height, :width] = down[:, None] * across
        return levels

    def bands_of_valid_size(self, size: Size) -> Tensor:
        """Return labels of shape (H, W): 0 for the approximation, then three subbands per level, coarse to fine."""
        labels = torch.zeros(size, dtype=torch.long)
        sizes = self._sizes(*size)
        for level, (height, width) in enumerate(reversed(sizes)):
            top, left = height // 2, width // 2
            labels[top:height, :left] = 3 * level + 1
            labels[:top, left:width] = 3 * level + 2
            labels[top:height, left:width] = 3 * level + 3
        return labels

    def _sizes(self, height: int, width: int) -> list[Size]:
        """Return the sizes that are halved at each level, for images of a valid size."""
        if self.levels is not None:
            return [(height >> level, width >> level) for level in range(self.levels)]
        sizes = [(height, width)]
        height, width = height // 2, width // 2
        while height % 2 == width % 2 == 0 and min(height, width) // 2 >= SMALLEST_APPROXIMATION:
            sizes.append((height, width))
            height, width = height // 2, width // 2
        return sizes

    def _transform_level(
        self, images: Tensor, matrix: Callable[[str, int, torch.dtype, torch.device], Tensor]
    ) -> Tensor:
        """Multiply the rows and columns of images by the matrices of a level, or of its inverse."""
        rows, columns = (matrix(self.name, side, images.dtype, images.device) for side in images.shape[-2:])
        return rows @ images @ columns.T


def check_sides(basis: str, levels: int | None, shape: Shape) -> None:
    """Raise ``ValueError`` for images (C, H, W) with sides shorter than 2^levels, if ``levels`` is given."""
    if levels is not None and min(shape[-2:]) < 1 << levels:
        raise ValueError(
            f"{basis} with levels={levels} needs image sides of at least {1 << levels}, not {shape[-2]}x{shape[-1]}"
        )


def check_orthogonal(name: str) -> None:
    """Raise ``ValueError`` for a name that is not an orthogonal wavelet."""
    if name not in ORTHOGONAL:
        raise ValueError(
            f"'{name}' is not an orthogonal wavelet{suggestion(name, ORTHOGONAL) or ';'} accepted: {ACCEPTED}"
        )


@cache_tensors(128)
def wavelet_matrix(
    name: str, size: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Tensor:
    """Return a level of the periodic transform as a (size, size) matrix, orthogonal if the wavelet is orthogonal."""
    wavelet = pywt.Wavelet(name)
    filters = np.stack([wavelet.dec_lo, wavelet.dec_hi])
    taps = filters.shape[1]
    outputs = np.arange(size // 2)
    # PyWavelets centres the filter: output n is sum_k h[k] x[2n + taps/2 - k], with indices modulo the size.
    columns = (2 * outputs[:, None] + taps // 2 - np.arange(taps)) % size
    matrix = np.zeros((size, size))
    for half, filter_taps in enumerate(filters):
        rows = outputs[:, None] + half * (size // 2)
        np.add.at(matrix, (rows, columns), filter_taps)
    return torch.from_numpy(matrix).to(device=device, dtype=dtype)


@cache_tensors(128)
def wavelet_inverse(
    name: str, size: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the inverse of :func:`wavelet_matrix`, shape (size, size): its transpose if it is orthogonal."""
    if name in ORTHOGONAL:
        return wavelet_matrix(name, size, dtype, device).T
    inverse: Tensor = torch.linalg.inv(wavelet_matrix(name, size))
    return inverse.to(device=device, dtype=dtype)


@cache_tensors(128)
def _composite_norms(name: str, sizes: tuple[int, ...], signal: int) -> tuple[Tensor, ...]:
    """Return, for each level, the norms of the rows that compute its coefficients from the signal."""
    approximation = torch.eye(sizes[0], dtype=torch.float64)
    norms = []
    for size in sizes:
        composite = wavelet_matrix(name, size) @ approximation
        norms.append(fold(composite, signal).norm(dim=1))
        approximation = composite[: size // 2]
    return tuple(norms)
