"""Curvelets."""

from __future__ import annotations

import importlib.util
import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Shape

from .._papers import NGUYEN_2010
from ._curvelet_windows import Fan, extended_deviations, fans
from ._extension import Extended, Size, next_multiples


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
