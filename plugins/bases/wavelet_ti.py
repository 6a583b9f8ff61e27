"""Translation-invariant wavelets."""

from __future__ import annotations

import functools
import math

import numpy as np
import pywt
import torch
from torch import Tensor

from gahbench import Basis, Shape
from gahbench_plugins.bases.wavelet import SMALLEST_APPROXIMATION, Levels, check_name, check_sides


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
        If no orthogonal wavelet has this name.
    """

    display_name = "translation-invariant {name:text} wavelets"
    citation = ("holschneider-1989", "nason-1995")
    orthonormal = False
    label_parameters = ("name",)

    def __init__(self, name: str = "sym4", levels: Levels = None) -> None:
        check_name(name)
        self.name = name
        self.levels = levels

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) with sides shorter than 2^levels, if ``levels`` is given."""
        check_sides(self.levels, shape)

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, 3 levels + 1, H, W)."""
        spectrum = torch.fft.rfft2(images)[:, :, None]
        coefficients: Tensor = torch.fft.irfft2(spectrum * self._responses(images), s=images.shape[-2:])
        return coefficients

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W): the adjoint of the analysis."""
        spectra = torch.fft.rfft2(coefficients) * self._responses(coefficients).conj()
        images: Tensor = torch.fft.irfft2(spectra.sum(2), s=coefficients.shape[-2:])
        return images

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviation of coefficients of unit white noise, (3 levels + 1, 1, 1)."""
        # The norm of a filter is the root mean power of its frequency response.
        rows, columns = (
            filter_responses(self.name, side, self.depth(shape)).abs().square().mean(-1).sqrt() for side in shape[-2:]
        )
        return _combine(rows[:, None, None], columns[:, None, None])

    def bands(self, shape: Shape) -> Tensor:
        """Return the index of each subband as label, shape (3 levels + 1, 1, 1)."""
        return torch.arange(3 * self.depth(shape) + 1)[:, None, None]

    def depth(self, shape: Shape | torch.Size) -> int:
        """Return the number of levels of images (..., H, W)."""
        if self.levels is not None:
            return self.levels
        return max(1, int(math.log2(max(1, min(shape[-2:]) / SMALLEST_APPROXIMATION))))

    def _responses(self, like: Tensor) -> Tensor:
        return _responses(self.name, *like.shape[-2:], self.depth(like.shape), like.dtype, like.device)


def _combine(rows: Tensor, columns: Tensor) -> Tensor:
    """Return the product for each subband of its row filter, shape (K, H, 1), and its column filter, (K, 1, W)."""
    # The filters are sorted from coarse to fine, with the low-pass before the high-pass filter of each level.
    low = rows[0::2], columns[0::2]
    high = rows[1::2], columns[1::2]
    details = torch.stack([high[0] * low[1], low[0] * high[1], high[0] * high[1]], dim=1)
    return torch.cat([low[0][:1] * low[1][:1], details.flatten(0, 1)])


def filter_responses(name: str, size: int, levels: int) -> Tensor:
    """Return the frequency responses of the composite filters of all levels on a periodic signal, (2 levels, size)."""
    wavelet = pywt.Wavelet(name)
    filters = np.stack([wavelet.dec_lo, wavelet.dec_hi])
    # PyWavelets centres the filter: output n is sum_k h[k] x[n + taps/2 - k].
    offsets = np.arange(filters.shape[1]) - filters.shape[1] // 2
    low = np.ones(size)
    composites: list[np.ndarray] = []
    for level in range(levels):
        # Integers modulo the size give exact phases for holes of any length.
        phases = np.outer(offsets * 2**level, np.arange(size)) % size
        responses = filters @ np.exp(-2j * np.pi / size * phases) / np.sqrt(2)
        composites = [low * responses[0], low * responses[1], *composites]
        low = composites[0]
    return torch.from_numpy(np.stack(composites))


# The responses for a photograph take 100 MB, so the cache holds only four: two orientations in two precisions. Tensors
# that were created for inference have no derivatives, so that they must not be cached.
@functools.lru_cache(maxsize=4)
@torch.inference_mode(False)
def _responses(
    name: str, height: int, width: int, levels: int, dtype: torch.dtype, device: torch.device | str
) -> Tensor:
    """Return the frequency responses of all subbands at the frequencies of ``rfft2``, (3 levels + 1, H, W // 2 + 1)."""
    rows = filter_responses(name, height, levels)[:, :, None]
    columns = filter_responses(name, width, levels)[:, None, : width // 2 + 1]
    return _combine(rows, columns).to(
        device=device, dtype=torch.complex128 if dtype == torch.float64 else torch.complex64
    )
