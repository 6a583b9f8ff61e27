"""Curvelets."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, Shape


class Curvelet(Basis):
    """Uniform discrete curvelet transform (Nguyen & Chauris 2010) with periodic boundaries: a Parseval frame.

    The windows come from the package ``curvelets``, and tile the frequency plane by scale and direction: three
    directions near each axis at the coarsest scale with directions, and twice as many at each further scale. All
    curvelets except those of the coarse scale are complex, and their real and imaginary parts are separate
    coefficients. Each channel has 4 H W coefficients, for any number of scales, in the shape (4, H, W).

    Parameters
    ----------
    scales
        Number of scales, including the coarse scale. The sides of images must be multiples of 4 and of 2^(scales - 1).

    Raises
    ------
    ValueError
        If the package ``curvelets`` is not installed.
    """

    display_name = "curvelets"
    citation = "nguyen-2010"
    orthonormal = False
    label_parameters = ("scales",)

    def __init__(self, scales: Annotated[int, Field(ge=2)] = 4) -> None:
        if importlib.util.find_spec("curvelets") is None:
            raise ValueError('the package curvelets is not installed: pip install "gahbench[curvelets]"')
        self.scales = scales

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) whose sides are not multiples of the sampling distances."""
        multiple = max(4, 1 << (self.scales - 1))
        if shape[-2] % multiple or shape[-1] % multiple:
            raise ValueError(f"images of {shape[-2]}x{shape[-1]}; accepted for curvelets: multiples of {multiple}")

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, real, shape (N, C, 4, H, W), from coarse to fine."""
        spectra = torch.fft.fft2(images, norm="ortho")[:, :, None]
        parts: list[Tensor] = []
        for windows, size in self._fans(images):
            # Sampling the curvelets on a coarser grid adds the frequencies that alias.
            tiles = torch.unflatten(torch.unflatten(spectra * windows, -1, (-1, size[1])), -3, (-1, size[0]))
            curvelets = torch.fft.ifft2(tiles.sum((-4, -2)), norm="ortho")
            parts += [curvelets.real.flatten(2), curvelets.imag.flatten(2)][: 2 if parts else 1]
        return torch.cat(parts, dim=-1).reshape(*images.shape[:2], 4, *images.shape[-2:])

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W): the adjoint of the transform."""
        remaining, spectra = coefficients.flatten(2), torch.zeros((), device=coefficients.device)
        for number, (windows, size) in enumerate(self._fans(coefficients)):
            length = len(windows) * math.prod(size)
            # Only the coarse scale has no imaginary parts.
            imaginary = remaining[..., length : 2 * length] if number else torch.zeros_like(remaining[..., :length])
            curvelets = torch.complex(remaining[..., :length], imaginary).unflatten(2, (len(windows), *size))
            remaining = remaining[..., 2 * length if number else length :]
            repeats = [side // length for side, length in zip(windows.shape[-2:], size, strict=True)]
            spectra = spectra + (torch.fft.fft2(curvelets, norm="ortho").repeat(1, 1, 1, *repeats) * windows).sum(2)
        images: Tensor = torch.fft.ifft2(spectra, norm="ortho").real
        return images

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviation of each coefficient of unit white noise, float64, (4, H, W)."""
        levels: list[Tensor] = []
        for windows, size in _fans(self.scales, *shape[-2:]):
            # For curvelets c, these are the power p = E|c|^2 and the pseudo-variance q = E[c^2], which is real; the
            # variances of real and imaginary parts are (p + q) / 2 and (p - q) / 2.
            opposite = windows.flip((-2, -1)).roll((1, 1), (-2, -1))
            power, pseudo = ((windows * other).sum((-2, -1)) / math.prod(size) for other in (windows, opposite))
            parts = [(power + pseudo) / 2, (power - pseudo) / 2][: 2 if levels else 1]
            levels += [part.clamp(min=0).sqrt().repeat_interleave(math.prod(size)) for part in parts]
        return torch.cat(levels).reshape(4, *shape[-2:])

    def bands(self, shape: Shape) -> Tensor:
        """Return labels of shape (4, H, W): 0 for the coarse scale, then a label for each wedge, coarse to fine."""
        labels, first = [], 0
        for windows, size in _fans(self.scales, *shape[-2:]):
            wedges = torch.arange(first, first + len(windows)).repeat_interleave(math.prod(size))
            labels += [wedges, wedges] if first else [wedges]
            first += len(windows)
        return torch.cat(labels).reshape(4, *shape[-2:])

    def _fans(self, like: Tensor) -> tuple[tuple[Tensor, tuple[int, int]], ...]:
        return _fans(self.scales, *like.shape[-2:], like.dtype, like.device)


# Tensors that were created for inference have no derivatives, so that they must not be cached.
@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)
def _fans(
    scales: int, height: int, width: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> tuple[tuple[Tensor, tuple[int, int]], ...]:
    """Return the windows (directions, H, W) of all fans of directions, coarse to fine, and the size of their grids."""
    transform = importlib.import_module("curvelets.numpy").UDCT(
        shape=(height, width), num_scales=scales, wedges_per_direction=3, window_threshold=1e-6
    )
    fans: list[tuple[Tensor, tuple[int, int]]] = []
    power = torch.zeros(height, width, dtype=torch.float64)
    for directions, ratios in zip(transform.windows, transform.decimation_ratios, strict=True):
        for windows, ratio in zip(directions, ratios, strict=True):
            dense = torch.stack([torch.from_numpy(window.to_dense()).double() for window in windows])
            # Windows of complex curvelets cover half of the frequencies.
            dense *= 2**0.5 if fans else 1
            power += (dense**2).sum(0)
            fans.append((dense, (height // int(ratio[0]), width // int(ratio[1]))))
    # The windows are scaled so that energy is preserved to machine precision.
    root = ((power + power.flip((0, 1)).roll((1, 1), (0, 1))) / 2).sqrt()
    return tuple(((windows / root).to(device=device, dtype=dtype), size) for windows, size in fans)
