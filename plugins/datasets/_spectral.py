"""Random functions and fields with a power law spectrum."""

from __future__ import annotations

import torch
from torch import Tensor


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
