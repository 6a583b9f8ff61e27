"""Curvelets, and their windows, ready to be applied to a batch of spectra."""

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
from ._extension import Extended, Size, folded, mirrored_places, next_multiples

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


@cache_tensors(16)
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
    sampled = []
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
            sampled.append((scale, size, sources, values))
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
        for scale, size, sources, values in sampled
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


@cache_tensors(4)
def extended_deviations(size: Size, extended: Size, scales: int, wedges: int) -> Tensor:
    """Return the standard deviations of curvelets of unit white noise that is continued by its mirror image."""
    norms = []
    for fan in fans(*extended, scales, wedges):
        curvelets = _at_origin(fan, extended)
        parts = [curvelets.real, curvelets.imag] if fan.scale > 0 else [curvelets.real]
        norms += [_folded_norms(curvelet, size, fan.size) for part in parts for curvelet in part]
    return torch.cat(norms)


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


class Curvelet(Extended):
    """Uniform discrete curvelet transform (Nguyen & Chauris 2010) with periodic boundaries: a Parseval frame.

    The windows, which tile the frequency plane by scale and direction, are those of the package ``curvelets``. Where
    two frequencies of a window would alias when its curvelets are sampled (none with the default wedges), the smaller
    value is left out; then the windows are divided by the root of their sum of squares, so that energy is kept and
    synthesis is the adjoint of analysis to machine precision.

    A curvelet that is not of the coarse scale is complex: its real and imaginary parts are coefficients of their own.
    That makes 4 H W coefficients a channel, at any number of scales and wedges. They are laid out as one vector (the
    coarse scale, then from coarse to fine the package's two fans of directions, of each the real parts of all wedges
    before the imaginary ones) in the shape (4, H, W), which determines the size of the images.

    The sides must be multiples of 4 and of the largest distance of curvelets, 8 by default. Others are continued by the
    mirror image to the next multiples, and synthesis crops: the frame is no Parseval frame there, and the shape of the
    coefficients is (K, H, W) with more layers. Noise levels are found for each curvelet then, which takes a quarter of
    a minute for 481x321, and minutes from 1000 pixels a side on.

    Parameters
    ----------
    scales
        Number of scales, the coarse one included.
    wedges
        Number of directions near each axis at the coarsest scale that has directions, a multiple of 3; it doubles from
        scale to scale.

    Raises
    ------
    ValueError
        If ``wedges`` is no multiple of 3, or the package ``curvelets`` is not installed.
    """

    citation = NGUYEN_2010
    orthonormal = False
    label_parameters = ("scales",)

    def __init__(self, scales: Annotated[int, Field(ge=2)] = 4, wedges: Annotated[int, Field(ge=3)] = 3) -> None:
        if wedges % 3:
            raise ValueError(f"wedges={wedges}: accepted are multiples of 3")
        if importlib.util.find_spec("curvelets") is None:
            raise ValueError('the package curvelets is not installed: pip install "gahbench[curvelets]"')
        self.scales = scales
        self.wedges = wedges

    def fitting(self, height: int, width: int) -> Size:
        """Return the next sides that the sampling of the curvelets divides."""
        # A quarter of each side, by which the package centres windows; and the largest distance of curvelets in pixels.
        return next_multiples(height, width, math.lcm(4, (self.wedges // 3) << (self.scales - 1)))

    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, 4, H, W), real, of images of a size that fits."""
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
        every = fans(shape[-2], shape[-1], self.scales, self.wedges)
        levels = [part.repeat_interleave(math.prod(fan.size)) for fan in every for part in fan.deviations]
        return torch.cat(levels).reshape(4, *shape[-2:])

    def extended_noise(self, size: Size, fitting: Size) -> Tensor:
        """Return the standard deviations of the coefficients of extended unit white noise, float64, as a vector."""
        return extended_deviations(size, fitting, self.scales, self.wedges)

    def fitting_bands(self, size: Size) -> Tensor:
        """Return labels of shape (4, H, W): 0 the coarse scale, then one for each wedge, coarse to fine."""
        labels = []
        first = 0
        for fan in fans(*size, self.scales, self.wedges):
            wedges = torch.arange(first, first + len(fan.sources))
            labels += [wedges.repeat_interleave(math.prod(fan.size)) for _ in fan.deviations]
            first += len(wedges)
        return torch.cat(labels).reshape(4, *size)

    def _fans(self, size: Size, like: Tensor) -> tuple[Fan, ...]:
        return fans(*size, self.scales, self.wedges, like.dtype, like.device)
