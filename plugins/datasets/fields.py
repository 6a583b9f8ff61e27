"""Random functions and fields with a power-law spectrum, on a periodic grid, or averaged over coarser pixels."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

#: Rounding of grey values in float32: frequencies that change images by less are left out.
ROUNDING = 2.0**-25
#: Maximum number of random numbers that are drawn at a time. The images depend on this number.
CHUNK = 1 << 22


def power_law(shape: tuple[int, ...], exponent: float, constant: float) -> Tensor:
    """Return amplitudes |k|^-exponent at integer frequencies k, ``constant`` at 0, in ``rfftn`` layout, float64."""
    squares = torch.fft.rfftfreq(shape[-1], 1 / shape[-1]).double().square()
    if len(shape) == 2:
        squares = torch.fft.fftfreq(shape[0], 1 / shape[0]).double().square()[:, None] + squares
    moduli = squares.sqrt()
    origin = (0,) * len(shape)
    moduli[origin] = 1
    amplitude: Tensor = moduli.pow(-exponent)
    amplitude[origin] = constant
    return amplitude


def unit_variance(amplitude: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Scale amplitudes so that they filter white noise of variance 1 to a stationary field of variance 1."""
    weights = torch.full_like(amplitude, 2)
    # In rfftn layout, a frequency stands for two frequencies, unless it is its own mirror image in the last axis.
    weights[..., 0] = 1
    if shape[-1] % 2 == 0:
        weights[..., -1] = 1
    return amplitude * (math.prod(shape) / (weights * amplitude.square()).sum()).sqrt()


def filter_noise(white: Tensor, amplitude: Tensor) -> Tensor:
    """Multiply noise (N, ...) by amplitudes, in ``rfftn`` layout, in the periodic Fourier domain."""
    axes = tuple(range(1, white.ndim))
    spectrum = torch.fft.rfftn(white, dim=axes)
    spectrum *= amplitude.to(white)
    fields: Tensor = torch.fft.irfftn(spectrum, s=white.shape[1:], dim=axes)
    return fields


def filter_pairs(white: Tensor, amplitude: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Filter complex noise by amplitudes, and return the cropped real and imaginary parts: two independent fields."""
    # The inverse transform divides by side^2, which would make the variance of white noise side^-2.
    full = white.shape[-1] * torch.cat([amplitude, amplitude[:, 1:-1].flip(1)], dim=1).to(white.real)
    fields = torch.fft.ifft2(white * full)[:, :size, :size]
    return fields.real, fields.imag


class AveragedField:
    """A Gaussian field with amplitudes |k|^-(alpha + 1) on a periodic grid, averaged over square blocks.

    Parameters
    ----------
    render_size
        Side of the field before averaging; the side of the periodic grid is twice as large.
    alpha
        Regularity exponent of the field.
    std
        Standard deviation of a pixel before averaging.
    """

    def __init__(self, render_size: int, alpha: float, std: float) -> None:
        self.render_size = render_size
        # Frequencies above K have at most pi K^(-2 alpha) / (4 alpha) of the variance: 4 frequencies have amplitude 1.
        highest = (math.log(math.pi / (4 * alpha)) - 2 * math.log(ROUNDING / std)) / (2 * alpha)
        self.highest = render_size if highest >= math.log(render_size) else max(1, math.ceil(math.exp(highest)))
        along = torch.arange(self.highest + 1, dtype=torch.float64)
        moduli = torch.hypot(along[:, None], along)
        moduli[0, 0] = 1
        amplitude = moduli.pow_(-(alpha + 1))
        amplitude[0, 0] = 0
        # All frequencies except 0 and the last frequency of the grid have a mirror image.
        counts = torch.where((along == 0) | (along == render_size), 1.0, 2.0).double()
        variance = float(counts @ amplitude.square() @ counts) / (2 * render_size) ** 2
        self.quarter = amplitude.mul_(std / math.sqrt(variance)).float()

    def pairs(
        self, generator: torch.Generator, count: int, size: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """Draw pairs of independent fields, averaged to ``size``, shape (count, size, size) each, float32."""
        along = self._frequencies().to(device)
        transfers = self._transfers(size).to(device, torch.complex64) / (2 * self.render_size) ** 0.5
        quarter = self.quarter.to(device)

        def draw_spectrum(rows: Tensor) -> Tensor:
            white = torch.randn(len(rows), len(along), 2, generator=generator).to(device)
            weights = quarter[along[rows].abs()][:, along.abs()]
            spectrum: Tensor = torch.view_as_complex(white) * weights * transfers[rows, None] * transfers
            return spectrum

        # Complex white noise is white in the Fourier domain, and an even filter keeps its two parts independent.
        spectra = torch.stack([self._fold(draw_spectrum, along, size, torch.complex64) for _ in range(count)])
        fields = torch.fft.ifft2(spectra, norm="forward")[:, :size, :size]
        return fields.real.contiguous(), fields.imag.contiguous()

    def amplitude(self, size: int) -> Tensor:
        """Return amplitudes that filter white noise to a field averaged to ``size``, (2 size, size + 1), float64."""
        along = self._frequencies()
        gains = self._transfers(size).abs().square()

        def power(rows: Tensor) -> Tensor:
            squares = self.quarter[along[rows].abs()][:, along.abs()].double().square_()
            return squares.mul_(gains[rows, None]).mul_(gains)

        folded = self._fold(power, along, size, torch.float64)
        amplitude: Tensor = folded[:, : size + 1].sqrt() * (size / self.render_size)
        return amplitude

    def _frequencies(self) -> Tensor:
        """Return the frequencies of an axis, in order; the last frequency of the grid is its own mirror image."""
        return torch.arange(-self.highest, min(self.highest, self.render_size - 1) + 1)

    def _transfers(self, size: int) -> Tensor:
        """Return the transfer function of averaging at each frequency of an axis, complex128."""
        angles = self._frequencies().double() * (math.pi / (2 * self.render_size))
        factor = self.render_size // size
        sines = torch.where(angles == 0, 1.0, factor * angles.sin())
        moduli = torch.where(angles == 0, 1.0, (factor * angles).sin() / sines)
        return torch.polar(moduli, (factor - 1) * angles)

    def _fold(self, values: Callable[[Tensor], Tensor], along: Tensor, size: int, dtype: torch.dtype) -> Tensor:
        """Sum values, computed by rows, over frequencies that are aliases on a grid of side 2 size."""
        side = 2 * size
        sums = torch.zeros(side, side, dtype=dtype, device=along.device)
        # Columns are padded with zeros to whole periods of the grid.
        before = -self.highest % side
        after = -(before + len(along)) % side
        for rows in torch.split(torch.arange(len(along), device=along.device), max(1, CHUNK // len(along))):
            periods = functional.pad(values(rows), (before, after)).reshape(len(rows), -1, side)
            sums.index_add_(0, along[rows] % side, functools.reduce(torch.add, periods.unbind(1)))
        return sums


@functools.lru_cache(maxsize=4)
def averaged_field(render_size: int, alpha: float, std: float) -> AveragedField:
    """Return an averaged field, shared by all datasets of a process."""
    with torch.inference_mode(False):
        return AveragedField(render_size, alpha, std)
