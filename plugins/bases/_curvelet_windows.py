"""The windows of curvelets, ready to be applied to a batch of spectra."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .._kept_tensors import kept_tensors
from ._extension import Size, folded, mirrored_places

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: Values of a window below it, of at most 1, are left out.
NEGLIGIBLE = 1e-6


@dataclass(frozen=True, eq=False)
class Fan:
    """Windows of one scale, side by side, whose curvelets are sampled on grids of one size."""

    sources: Tensor
    values: Tensor
    size: tuple[int, int]
    deviations: Tensor
    scale: int


@kept_tensors(16)
def fans(
    height: int,
    width: int,
    scales: int,
    wedges: int,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> tuple[Fan, ...]:
    """Return all windows for images of a size, coarse to fine."""
    transform = importlib.import_module("curvelets.numpy").UDCT(
        shape=(height, width), num_scales=scales, wedges_per_direction=wedges, window_threshold=NEGLIGIBLE
    )
    rows, columns = np.divmod(np.arange(height * width), width)
    opposite = -rows % height * width + -columns % width
    power = np.zeros(height * width)
    found = []
    for scale, directions in enumerate(transform.windows):
        for windows, decimation in zip(directions, transform.decimation_ratios[scale], strict=True):
            size = (height // int(decimation[0]), width // int(decimation[1]))
            sources = np.zeros((len(windows), size[0] * size[1]), dtype=np.int64)
            values = np.zeros(sources.shape)
            for window, its_sources, its_values in zip(windows, sources, values, strict=True):
                # In ascending order: of two frequencies that would alias the larger value, put there last, stays.
                order = np.argsort(window.values)
                frequencies = window.indices[order]
                places = rows[frequencies] % size[0] * size[1] + columns[frequencies] % size[1]
                its_sources[places] = frequencies
                its_values[places] = window.values[order] * (1 if scale == 0 else np.sqrt(2))
            np.add.at(power, sources, values**2)
            found.append((scale, size, sources, values))
    # The real and imaginary parts see a frequency and its opposite alike; the window of scale 0 is symmetric.
    root = np.sqrt((power + power[opposite]) / 2)
    return tuple(
        Fan(
            torch.from_numpy(sources).to(device),
            torch.from_numpy(values / root[sources]).to(device=device, dtype=dtype),
            size,
            _deviations(sources, values / root[sources], opposite, complex_valued=scale > 0),
            scale,
        )
        for scale, size, sources, values in found
    )


def _deviations(sources: Integers, values: Floats, opposite: Integers, complex_valued: bool) -> Tensor:
    """Return the standard deviations of the real and, if there are any, imaginary parts for unit white noise.

    Those of curvelets c are the roots of (p + q) / 2 and (p - q) / 2, with the power p = E|c|^2 and the pseudo-variance
    q = E[c^2]: the same all over the grid, real, and 0 unless a window has a frequency as well as its opposite.
    """
    dense = np.zeros((len(sources), len(opposite)))
    np.add.at(dense, (np.arange(len(sources))[:, None], sources), values)
    power = (dense**2).sum(1) / sources.shape[1]
    pseudo = (dense * dense[:, opposite]).sum(1) / sources.shape[1]
    parts = [power + pseudo, power - pseudo] if complex_valued else [power + pseudo]
    return torch.from_numpy(np.sqrt(np.stack(parts) / 2))


@kept_tensors(4)
def extended_deviations(size: Size, extended: Size, scales: int, wedges: int) -> Tensor:
    """Return the standard deviations of curvelets of unit white noise that is continued by its mirror image."""
    found = []
    for fan in fans(*extended, scales, wedges):
        curvelets = _at_origin(fan, extended)
        parts = [curvelets.real, curvelets.imag] if fan.scale > 0 else [curvelets.real]
        found += [_folded_norms(curvelet, size, fan.size) for part in parts for curvelet in part]
    return torch.cat(found)


def _at_origin(fan: Fan, size: Size) -> Tensor:
    """Return the curvelet at the origin of each window's grid, as a functional of images, complex, (windows, H, W)."""
    count, points = fan.sources.shape
    windows = torch.zeros(count, size[0] * size[1], dtype=torch.float64).scatter_add(1, fan.sources, fan.values)
    curvelets: Tensor = torch.fft.fft2(windows.reshape(count, *size), norm="ortho") / points**0.5
    return curvelets


def _folded_norms(curvelet: Tensor, size: Size, grid: Size) -> Tensor:
    """Return the norms of shifts of a functional of continued images, as functionals of the images, flattened."""
    height, width = curvelet.shape
    columns = mirrored_places(size[1], width)
    # Pairs of different columns that continue the same one of the image.
    first, second = torch.nonzero((columns[:, None] == columns).triu(1), as_tuple=True)
    shifts = torch.arange(grid[1])[:, None] * (width // grid[1])
    first, second = (first - shifts) % width, (second - shifts) % width
    norms = []
    for row in range(grid[0]):
        rows = folded(curvelet.roll(row * (height // grid[0]), 0).mT, size[0])
        norms.append(rows.square().sum() + 2 * (rows[first] * rows[second]).sum((1, 2)))
    return torch.stack(norms).flatten().clamp(min=0).sqrt()
