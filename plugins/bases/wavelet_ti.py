"""Translation-invariant wavelets."""

from __future__ import annotations

import math

import numpy as np
import pywt
import torch
from torch import Tensor

from gahbench import Basis, Shape

from .._papers import HOLSCHNEIDER_1989, NASON_1995
from .._tensors import cache_tensors
from .wavelet import SMALLEST_APPROXIMATION, check_orthogonal, check_sides


class TranslationInvariantWavelet(Basis):
    """Undecimated orthogonal wavelet transform with periodic boundaries: a Parseval frame.

    The transform is the algorithme à trous (Holschneider et al. 1989; Nason & Silverman 1995): the filters of level j
    have 2^(j-1) - 1 zeros between their taps, and nothing is decimated, so that a shift of the image shifts the
    coefficients. Coefficients have shape (N, C, 3 levels + 1, H, W): the approximation, then three subbands per level,
    coarsest first, in the order of ``Wavelet.bands``. They are scaled so that synthesis is the adjoint of analysis and
    energy is preserved. At positions that are multiples of 2^j, the coefficients of level j are 2^-j times those of
    ``Wavelet``. If the sides are multiples of 2^levels, denoising in this frame is the average over all circular shifts
    of denoising in ``Wavelet`` (Coifman & Donoho 1995).

    The result equals the stacked output of ``pywt.swt2(..., trim_approx=True, norm=True)``, but images may have any
    size, since the filters satisfy the quadrature mirror condition at every frequency. Filters are applied in the
    Fourier domain.

    Parameters
    ----------
    name
        An orthogonal wavelet of the families haar, db, sym and coif.
    levels
        Number of levels. ``null`` for the largest number at which the approximation, if decimated, would still have
        sides of at least 4 pixels, but at least one level.

    Raises
    ------
    ValueError
        If no orthogonal wavelet has this name, or ``levels`` is less than 1.
    """

    display_name = "translation-invariant {name:text} wavelets"
    citation = (HOLSCHNEIDER_1989, NASON_1995)
    orthonormal = False
    label_parameters = ("name",)

    def __init__(self, name: str = "sym4", levels: int | None = None) -> None:
        check_orthogonal(name)
        if levels is not None and levels < 1:
            raise ValueError(f"levels={levels}; accepted: 1, 2, ... or null for the default")
        self.name = name
        self.levels = levels

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) with sides shorter than 2^levels, if ``levels`` is given."""
        self._depth(shape[-2], shape[-1])

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, 3 levels + 1, H, W)."""
        size = images.shape[-2:]
        spectrum = torch.fft.rfft2(images)[:, :, None]
        coefficients: Tensor = torch.fft.irfft2(spectrum * self._responses(images), s=size)
        return coefficients

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W): the adjoint of the analysis."""
        size = coefficients.shape[-2:]
        spectra = torch.fft.rfft2(coefficients) * self._responses(coefficients).conj()
        images: Tensor = torch.fft.irfft2(spectra.sum(2), s=size)
        return images

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviation of coefficients of unit white noise, (3 levels + 1, 1, 1)."""
        height, width = shape[-2:]
        depth = self._depth(height, width)
        # The norm of a filter is the root mean power of its frequency response.
        rows, columns = (
            filter_responses(self.name, side, depth).abs().square().mean(-1).sqrt() for side in (height, width)
        )
        return torch.stack([rows[first] * columns[second] for first, second in _pairs(depth)])[:, None, None]

    def bands(self, shape: Shape) -> Tensor:
        """Return the index of each subband as label, shape (3 levels + 1, 1, 1)."""
        return torch.arange(3 * self._depth(shape[-2], shape[-1]) + 1)[:, None, None]

    def _responses(self, like: Tensor) -> Tensor:
        height, width = like.shape[-2:]
        return _responses(self.name, height, width, self._depth(height, width), like.dtype, like.device)

    def _depth(self, height: int, width: int) -> int:
        if self.levels is None:
            return max(1, int(math.log2(max(1, min(height, width) / SMALLEST_APPROXIMATION))))
        check_sides("wavelet-ti", self.levels, (1, height, width))
        return self.levels


def _pairs(levels: int) -> list[tuple[int, int]]:
    """Return, for each subband, the indices in :func:`filter_responses` of its row filter and column filter."""
    pairs = [(0, 0)]
    for level in range(levels):
        low, high = 2 * level, 2 * level + 1
        pairs += [(high, low), (low, high), (high, high)]
    return pairs


def filter_responses(name: str, size: int, levels: int) -> Tensor:
    """Return the frequency responses of the composite filters of all levels on a periodic signal."""
    wavelet = pywt.Wavelet(name)
    filters = np.stack([wavelet.dec_lo, wavelet.dec_hi])
    # PyWavelets centres the filter: output n is sum_k h[k] x[n + taps/2 - k].
    offsets = np.arange(filters.shape[1]) - filters.shape[1] // 2
    frequencies = np.arange(size)
    low = np.ones(size)
    composites: list[np.ndarray] = []
    for level in range(levels):
        # Integers modulo the size give exact phases for holes of any length.
        phases = np.outer(offsets * 2**level, frequencies) % size
        responses = filters @ np.exp(-2j * np.pi / size * phases) / np.sqrt(2)
        composites = [low * responses[0], low * responses[1], *composites]
        low = composites[0]
    return torch.from_numpy(np.stack(composites))


# The responses for a photograph take 100 MB, so the cache holds only four: two orientations in two precisions.
@cache_tensors(4)
def _responses(
    name: str, height: int, width: int, levels: int, dtype: torch.dtype, device: torch.device | str
) -> Tensor:
    """Return the frequency responses of all subbands at the frequencies of ``rfft2``, (3 levels + 1, H, W // 2 + 1)."""
    rows = filter_responses(name, height, levels)
    columns = filter_responses(name, width, levels)[:, : width // 2 + 1]
    subbands = torch.stack([rows[first][:, None] * columns[second] for first, second in _pairs(levels)])
    return subbands.to(device=device, dtype=torch.complex128 if dtype == torch.float64 else torch.complex64)
