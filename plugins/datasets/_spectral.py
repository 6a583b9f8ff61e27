"""Random functions and fields with a power law spectrum, on a periodic grid, or averaged over coarser pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .._tensors import cache_tensors


def frequencies(shape: tuple[int, ...]) -> Tensor:
    """Return the moduli |k| of the integer frequencies of a periodic grid, in ``rfftn`` layout, float64."""
    squares = torch.zeros(1, dtype=torch.float64)
    for axis, side in enumerate(shape):
        last = axis == len(shape) - 1
        spacing = 1 / side
        along = torch.fft.rfftfreq(side, spacing) if last else torch.fft.fftfreq(side, spacing)
        squares = squares.unsqueeze(-1) + along.double().square() if axis else along.double().square()
    return squares.sqrt()


def power_law(shape: tuple[int, ...], exponent: float, constant: float) -> Tensor:
    """Return amplitudes |k|^-exponent, in ``rfftn`` layout, float64."""
    moduli = frequencies(shape)
    origin = (0,) * len(shape)
    moduli[origin] = 1
    amplitude = moduli.pow(-exponent)
    amplitude[origin] = constant
    return amplitude


def unit_variance(amplitude: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Scale amplitudes so that they filter white noise of variance 1 to a stationary field of variance 1."""
    weights = torch.full_like(amplitude, 2)
    # In rfftn layout all frequencies stand for two, but those that are their own mirror in the last axis.
    weights[..., 0] = 1
    if shape[-1] % 2 == 0:
        weights[..., -1] = 1
    count = torch.Size(shape).numel()
    return amplitude * (count / (weights * amplitude.square()).sum()).sqrt()


def filtered(white: Tensor, amplitude: Tensor) -> Tensor:
    """Return noise (N, ...) multiplied by amplitudes, in ``rfftn`` layout, in the periodic Fourier domain."""
    axes = tuple(range(1, white.ndim))
    spectrum = torch.fft.rfftn(white, dim=axes)
    spectrum *= amplitude.to(white)
    fields: Tensor = torch.fft.irfftn(spectrum, s=white.shape[1:], dim=axes)
    return fields


def filtered_pairs(white: Tensor, amplitude: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return two independent fields for each complex noise, filtered by amplitudes and cropped."""
    side = white.shape[-1]
    # The inverse transform divides by side^2, which would make the variance of white noise side^-2.
    full = side * torch.cat([amplitude, amplitude[:, 1:-1].flip(1)], dim=1).to(white.real)
    fields = torch.fft.ifft2(white * full)[:, :size, :size]
    return fields.real, fields.imag


#: Rounding of grey values in float32: frequencies that do not change images by more are left out.
ROUNDING = 2.0**-25
#: Random numbers that are held at once. Images depend on it.
TOGETHER = 1 << 22


class AveragedField:
    """A Gaussian field with amplitudes |k|^-(alpha + 1) on a periodic grid, averaged over square blocks."""

    def __init__(self, master: int, alpha: float, std: float) -> None:
        self.master = master
        # The part of the variance above K is at most pi K^(-2 alpha) / (4 alpha): four frequencies have amplitude 1.
        highest = (math.log(math.pi / (4 * alpha)) - 2 * math.log(ROUNDING / std)) / (2 * alpha)
        self.highest = master if highest >= math.log(master) else max(1, math.ceil(math.exp(highest)))
        along = torch.arange(self.highest + 1, dtype=torch.float64)
        moduli = torch.hypot(along[:, None], along)
        moduli[0, 0] = 1
        amplitude = moduli.pow_(-(alpha + 1))
        amplitude[0, 0] = 0
        # All frequencies have a mirror image, but 0 and the last of the grid.
        counts = torch.where((along == 0) | (along == master), 1.0, 2.0).double()
        variance = float(counts @ amplitude.square() @ counts) / (2 * master) ** 2
        self.quarter = amplitude.mul_(std / math.sqrt(variance)).float()

    def pairs(
        self, generator: torch.Generator, count: int, size: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """Draw pairs of independent fields averaged to a size, shape (count, size, size) each, float32."""
        along = self._frequencies().to(device)
        transfers = self._transfers(size).to(device, torch.complex64) / (2 * self.master) ** 0.5
        quarter = self.quarter.to(device)

        def drawn(rows: Tensor) -> Tensor:
            white = torch.randn(len(rows), len(along), 2, generator=generator).to(device)
            weights = quarter[along[rows].abs()][:, along.abs()]
            spectrum: Tensor = torch.view_as_complex(white) * weights * transfers[rows, None] * transfers
            return spectrum

        # Complex white noise stays white in the Fourier domain, and an even filter keeps its parts independent.
        spectra = torch.stack([self._folded(drawn, along, size, torch.complex64) for _ in range(count)])
        fields = torch.fft.ifft2(spectra, norm="forward")[:, :size, :size]
        return fields.real.contiguous(), fields.imag.contiguous()

    def amplitude(self, size: int) -> Tensor:
        """Return the amplitudes that filter white noise to a field averaged to a size, (2 size, size + 1), float64."""
        along = self._frequencies()
        gains = self._transfers(size).abs().square()

        def power(rows: Tensor) -> Tensor:
            squares = self.quarter[along[rows].abs()][:, along.abs()].double().square_()
            return squares.mul_(gains[rows, None]).mul_(gains)

        folded = self._folded(power, along, size, torch.float64)
        amplitude: Tensor = folded[:, : size + 1].sqrt() * (size / self.master)
        return amplitude

    def _frequencies(self) -> Tensor:
        """Return the frequencies of an axis, in order; the last of the grid is its own mirror image."""
        return torch.arange(-self.highest, min(self.highest, self.master - 1) + 1)

    def _transfers(self, size: int) -> Tensor:
        """Return what averaging multiplies the coefficient of each frequency of an axis by, complex128."""
        angles = self._frequencies().double() * (math.pi / (2 * self.master))
        factor = self.master // size
        sines = torch.where(angles == 0, 1.0, factor * angles.sin())
        moduli = torch.where(angles == 0, 1.0, (factor * angles).sin() / sines)
        return torch.polar(moduli, (factor - 1) * angles)

    def _folded(self, values: Callable[[Tensor], Tensor], along: Tensor, size: int, dtype: torch.dtype) -> Tensor:
        """Add values, given by rows, at frequencies that are alike on the grid of twice a size."""
        side, device = 2 * size, along.device
        sums = torch.zeros(side, side, dtype=dtype, device=device)
        for rows in torch.split(torch.arange(len(along), device=device), max(1, TOGETHER // len(along))):
            part = values(rows)
            columns = torch.zeros(len(rows), side, dtype=dtype, device=device)
            for source, target in _runs(-self.highest, len(along), side):
                columns[:, target] += part[:, source]
            sums.index_add_(0, along[rows] % side, columns)
        return sums


def _runs(lowest: int, count: int, side: int) -> Iterator[tuple[slice, slice]]:
    """Yield places of ``count`` frequencies from ``lowest`` on, and their places on a periodic grid, run by run."""
    place = 0
    while place < count:
        start = (lowest + place) % side
        length = min(side - start, count - place)
        yield slice(place, place + length), slice(start, start + length)
        place += length


@cache_tensors(4)
def averaged_field(master: int, alpha: float, std: float) -> AveragedField:
    """Return an averaged field, shared by all datasets of a process."""
    return AveragedField(master, alpha, std)
