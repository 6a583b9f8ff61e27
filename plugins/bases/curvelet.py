"""Curvelets, and their windows in the Fourier domain."""

from __future__ import annotations

import importlib
import importlib.util
import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from gahbench import Shape

from .._papers import NGUYEN_2010
from .._tensors import cache_tensors
from ._extension import Extended, Size, fold, mirror_indices, next_multiples

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: Values of a window below this threshold are omitted; the maximum of a window is 1.
NEGLIGIBLE = 1e-6


@dataclass(frozen=True, eq=False)
class Fan:
    """Adjacent windows of a scale, whose curvelets are sampled on grids of the same ``size``.

    Row k of ``sources`` and ``values``, shape (windows, points), holds the flat indices of frequencies, and the values
    of window k at these frequencies. ``deviations`` are the standard deviations of coefficients of unit white noise,
    shape (1 or 2, windows), for real and imaginary parts.
    """

    sources: Tensor
    values: Tensor
    size: tuple[int, int]
    deviations: Tensor
    scale: int


@cache_tensors(16)
def fans(
    height: int,
    width: int,
    scales: int,
    wedges: int,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> tuple[Fan, ...]:
    """Return the fans of windows that cover the frequency plane for images of the given size, from coarse to fine."""
    transform = importlib.import_module("curvelets.numpy").UDCT(
        shape=(height, width), num_scales=scales, wedges_per_direction=wedges, window_threshold=NEGLIGIBLE
    )
    rows, columns = np.divmod(np.arange(height * width), width)
    opposite = -rows % height * width + -columns % width
    power = np.zeros(height * width)
    sampled = []
    for scale, directions in enumerate(transform.windows):
        for windows, decimation in zip(directions, transform.decimation_ratios[scale], strict=True):
            size = (height // int(decimation[0]), width // int(decimation[1]))
            sources = np.zeros((len(windows), size[0] * size[1]), dtype=np.int64)
            values = np.zeros(sources.shape)
            for window, window_sources, window_values in zip(windows, sources, values, strict=True):
                # Ascending order lets the larger value of two aliased frequencies overwrite the smaller.
                order = np.argsort(window.values)
                frequencies = window.indices[order]
                indices = rows[frequencies] % size[0] * size[1] + columns[frequencies] % size[1]
                window_sources[indices] = frequencies
                window_values[indices] = window.values[order] * (1 if scale == 0 else np.sqrt(2))
            np.add.at(power, sources, values**2)
            sampled.append((scale, size, sources, values))
    # Real and imaginary parts depend on a frequency and its opposite; the window of scale 0 is symmetric.
    root = np.sqrt((power + power[opposite]) / 2)
    return tuple(
        Fan(
            torch.from_numpy(sources).to(device),
            torch.from_numpy(values / root[sources]).to(device=device, dtype=dtype),
            size,
            _deviations(sources, values / root[sources], opposite, complex_valued=scale > 0),
            scale,
        )
        for scale, size, sources, values in sampled
    )


def _deviations(sources: Integers, values: Floats, opposite: Integers, complex_valued: bool) -> Tensor:
    """Return the standard deviations of real and, for complex curvelets, imaginary parts for unit white noise.

    For curvelets c they are the roots of (p + q) / 2 and (p - q) / 2, with the power p = E|c|^2 and the pseudo-variance
    q = E[c^2]. The latter is constant over the grid, real, and 0 unless a window contains a frequency and its opposite.
    """
    dense = np.zeros((len(sources), len(opposite)))
    np.add.at(dense, (np.arange(len(sources))[:, None], sources), values)
    power = (dense**2).sum(1) / sources.shape[1]
    pseudo = (dense * dense[:, opposite]).sum(1) / sources.shape[1]
    parts = [power + pseudo, power - pseudo] if complex_valued else [power + pseudo]
    return torch.from_numpy(np.sqrt(np.stack(parts) / 2))


@cache_tensors(4)
def extended_deviations(size: Size, extended: Size, scales: int, wedges: int) -> Tensor:
    """Return the standard deviations of curvelets of unit white noise that is extended by its mirror image."""
    norms = []
    for fan in fans(*extended, scales, wedges):
        curvelets = _origin_curvelets(fan, extended)
        parts = [curvelets.real, curvelets.imag] if fan.scale > 0 else [curvelets.real]
        norms += [_folded_norms(curvelet, size, fan.size) for part in parts for curvelet in part]
    return torch.cat(norms)


def _origin_curvelets(fan: Fan, size: Size) -> Tensor:
    """Return the curvelet at the origin of each window's grid, complex, shape (windows, H, W)."""
    count, points = fan.sources.shape
    windows = torch.zeros(count, size[0] * size[1], dtype=torch.float64).scatter_add(1, fan.sources, fan.values)
    curvelets: Tensor = torch.fft.fft2(windows.reshape(count, *size), norm="ortho") / points**0.5
    return curvelets


def _folded_norms(curvelet: Tensor, size: Size, grid: Size) -> Tensor:
    """Return the norms of all shifts of a functional of extended images, as functionals of the images."""
    height, width = curvelet.shape
    columns = mirror_indices(size[1], width)
    # Pairs of different columns that repeat the same column of the image.
    first, second = torch.nonzero((columns[:, None] == columns).triu(1), as_tuple=True)
    shifts = torch.arange(grid[1])[:, None] * (width // grid[1])
    first, second = (first - shifts) % width, (second - shifts) % width
    norms = []
    for row in range(grid[0]):
        rows = fold(curvelet.roll(row * (height // grid[0]), 0).mT, size[0])
        norms.append(rows.square().sum() + 2 * (rows[first] * rows[second]).sum((1, 2)))
    return torch.stack(norms).flatten().clamp(min=0).sqrt()


class Curvelet(Extended):
    """Uniform discrete curvelet transform (Nguyen & Chauris 2010) with periodic boundaries: a Parseval frame.

    The windows come from the package ``curvelets``, and tile the frequency plane by scale and direction. If two
    frequencies of a window alias when its curvelets are sampled (which does not occur with the default wedges), the
    smaller value is omitted. The windows are then divided by the root of their sum of squares, so that energy is
    preserved and synthesis is the adjoint of analysis to machine precision.

    All curvelets except those of the coarse scale are complex, and their real and imaginary parts are separate
    coefficients. Each channel has 4 H W coefficients, for any number of scales and wedges. They are stored as a vector:
    the coarse scale, then from coarse to fine the package's two fans of directions, each with the real parts of all
    wedges before the imaginary parts. The vector has the shape (4, H, W), which determines the size of the images.

    The sides must be multiples of 4 and of the largest distance between curvelets, 8 pixels by default. Other images
    are extended by their mirror image to the next multiples, and cropped in synthesis. Then the frame is not a Parseval
    frame, and coefficients have the shape (K, H, W) with larger K. Noise levels are then computed for each curvelet,
    which takes about 15 s for 481x321 pixels, and minutes for sides of 1000 pixels or more.

    Parameters
    ----------
    scales
        Number of scales, including the coarse scale.
    wedges
        Number of directions near each axis at the coarsest scale with directions, a multiple of 3; it doubles from
        scale to scale.

    Raises
    ------
    ValueError
        If ``wedges`` is not a multiple of 3, or the package ``curvelets`` is not installed.
    """

    display_name = "curvelets"
    citation = NGUYEN_2010
    orthonormal = False
    label_parameters = ("scales",)

    def __init__(self, scales: Annotated[int, Field(ge=2)] = 4, wedges: Annotated[int, Field(ge=3)] = 3) -> None:
        if wedges % 3:
            raise ValueError(f"wedges={wedges}; accepted: multiples of 3")
        if importlib.util.find_spec("curvelets") is None:
            raise ValueError('the package curvelets is not installed: pip install "gahbench[curvelets]"')
        self.scales = scales
        self.wedges = wedges

    def valid_size(self, height: int, width: int) -> Size:
        """Return the next sides that are divisible by the sampling distances of curvelets."""
        # The package centres windows by a quarter of a side, so sides must also be multiples of 4.
        return next_multiples(height, width, math.lcm(4, (self.wedges // 3) << (self.scales - 1)))

    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, 4, H, W), real, of images of a valid size."""
        count, channels, height, width = images.shape
        spectra = torch.fft.fft2(images, norm="ortho").flatten(2)
        parts = []
        for fan in self._fans((height, width), images):
            sampled = (spectra[..., fan.sources] * fan.values).reshape(count, channels, -1, *fan.size)
            curvelets = torch.fft.ifft2(sampled, norm="ortho")
            parts.append(curvelets.real.flatten(2))
            if fan.scale > 0:
                parts.append(curvelets.imag.flatten(2))
        return torch.cat(parts, dim=-1).reshape(count, channels, 4, height, width)

    def backward(self, coefficients: Tensor, size: Size) -> Tensor:
        """Return the images, shape (N, C, H, W): the adjoint of the transform."""
        (count, channels, _), (height, width) = coefficients.shape, size
        vector = coefficients
        spectra = torch.zeros(
            count, channels, height * width, dtype=coefficients.dtype.to_complex(), device=coefficients.device
        )
        for fan in self._fans(size, coefficients):
            length = fan.sources.numel()
            real, imaginary, vector = vector[..., :length], vector[..., length : 2 * length], vector[..., length:]
            if fan.scale > 0:
                curvelets, vector = torch.complex(real, imaginary), vector[..., length:]
            else:
                curvelets = torch.complex(real, torch.zeros_like(real))
            sampled = torch.fft.fft2(curvelets.reshape(count, channels, -1, *fan.size), norm="ortho")
            values = sampled.flatten(3) * fan.values
            spectra = spectra.index_add(2, fan.sources.flatten(), values.flatten(2))
        images: Tensor = torch.fft.ifft2(spectra.reshape(count, channels, height, width), norm="ortho").real
        return images

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviation of each coefficient of unit white noise, float64, (4, H, W) or (K, H, W)."""
        if self.is_extended(shape):
            return super().noise_levels(shape)
        all_fans = fans(shape[-2], shape[-1], self.scales, self.wedges)
        levels = [part.repeat_interleave(math.prod(fan.size)) for fan in all_fans for part in fan.deviations]
        return torch.cat(levels).reshape(4, *shape[-2:])

    def extended_noise(self, size: Size, valid_size: Size) -> Tensor:
        """Return the standard deviations of the coefficients of extended unit white noise, float64, as a vector."""
        return extended_deviations(size, valid_size, self.scales, self.wedges)

    def bands_of_valid_size(self, size: Size) -> Tensor:
        """Return labels of shape (4, H, W): 0 for the coarse scale, then a label for each wedge, coarse to fine."""
        labels = []
        first = 0
        for fan in fans(*size, self.scales, self.wedges):
            wedges = torch.arange(first, first + len(fan.sources))
            labels += [wedges.repeat_interleave(math.prod(fan.size)) for _ in fan.deviations]
            first += len(wedges)
        return torch.cat(labels).reshape(4, *size)

    def _fans(self, size: Size, like: Tensor) -> tuple[Fan, ...]:
        return fans(*size, self.scales, self.wedges, like.dtype, like.device)
