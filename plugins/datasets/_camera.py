"""A camera chain: photons and read-out on a Bayer mosaic, demosaicing, gamma, and JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from gahbench import generator

#: Filters of Malvar, He & Cutler 2004, times 8: green at red or blue pixels; a colour at green pixels whose neighbours
#: of this colour are in the same row; and a colour at pixels of the opposite colour.
_GREEN = ((0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0), (0, 0, -1, 0, 0))
_IN_ROW = ((0, 0, 0.5, 0, 0), (0, -1, 0, -1, 0), (-1, 4, 5, 4, -1), (0, -1, 0, -1, 0), (0, 0, 0.5, 0, 0))
_OPPOSITE = ((0, 0, -1.5, 0, 0), (0, 2, 0, 2, 0), (-1.5, 0, 6, 0, -1.5), (0, 2, 0, 2, 0), (0, 0, -1.5, 0, 0))
#: The sRGB curve is linear below this intensity, and a power above it.
_TOE, _SLOPE, _OFFSET, _POWER = 0.0031308, 12.92, 0.055, 2.4


@dataclass(frozen=True)
class Camera:
    """Parameters of the chain; :class:`gahbench_plugins.datasets.simulated_captures.SimulatedCaptures` defines them."""

    photons: float
    read_noise: float
    mosaic: bool
    gamma: bool
    quality: int | None

    def take(self, scene: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return the reference and the noisy image of a linear scene, each of shape (3, H, W) with even sides."""
        raw = mosaic(scene) if self.mosaic else scene
        developed = self._develop(self._expose(raw, generator("data", "camera", seed)).clamp(max=1))
        if self.quality is not None:
            developed = compress(developed, self.quality)
        return self._develop(raw), developed

    def _expose(self, raw: Tensor, source: torch.Generator) -> Tensor:
        """Return intensities with Poisson noise of photons and Gaussian noise of reading out, of variance a x + b."""
        exact, gain = raw.double().clamp(min=0), 1 / self.photons
        read_out = self.read_noise / self.photons * torch.randn(raw.shape, dtype=torch.float64, generator=source)
        rate = exact / gain
        return (exact + read_out + gain * (torch.poisson(rate, generator=source) - rate)).to(raw.dtype)

    def _develop(self, raw: Tensor) -> Tensor:
        image = (demosaic(raw) if self.mosaic else raw).clamp(0, 1)
        return to_srgb(image) if self.gamma else image


def to_linear(image: Tensor) -> Tensor:
    """Return the linear intensities of sRGB values."""
    power = ((image + _OFFSET) / (1 + _OFFSET)) ** _POWER
    return torch.where(image <= _TOE * _SLOPE, image / _SLOPE, power)


def to_srgb(image: Tensor) -> Tensor:
    """Return the sRGB values of linear intensities in [0, 1]."""
    power = (1 + _OFFSET) * image.clamp(min=_TOE) ** (1 / _POWER) - _OFFSET
    return torch.where(image <= _TOE, image * _SLOPE, power)


def mosaic(scene: Tensor) -> Tensor:
    """Return the pixels (1, H, W) of a sensor with the Bayer pattern RGGB, of a scene (3, H, W)."""
    raw = scene[1:2].clone()
    raw[0, ::2, ::2] = scene[0, ::2, ::2]
    raw[0, 1::2, 1::2] = scene[2, 1::2, 1::2]
    return raw


def demosaic(raw: Tensor) -> Tensor:
    """Return the colours (3, H, W) of pixels (1, H, W) with the Bayer pattern RGGB.

    References
    ----------
    Malvar, He & Cutler, High-quality linear interpolation for demosaicing of Bayer-patterned color images, ICASSP 2004.
    """
    in_row = torch.tensor(_IN_ROW)
    filters = torch.stack([torch.tensor(_GREEN), in_row, in_row.T, torch.tensor(_OPPOSITE)]).to(raw) / 8
    # The mirrored border keeps the pattern.
    padded = functional.pad(raw[None], (2, 2, 2, 2), mode="reflect")
    green, row, column, opposite = functional.conv2d(padded, filters[:, None])[0]
    own = raw[0]
    image = torch.stack([own, own, own])
    for first, (colour, other) in ((0, (0, 2)), (1, (2, 0))):
        # Rows of one colour: its own pixels, then green pixels, for the first row of the pattern; the reverse below.
        here, there = slice(first, None, 2), slice(1 - first, None, 2)
        image[1, here, here] = green[here, here]
        image[other, here, here] = opposite[here, here]
        image[colour, here, there] = row[here, there]
        image[other, here, there] = column[here, there]
    return image


def compress(image: Tensor, quality: int) -> Tensor:
    """Return an image (3, H, W) after rounding to 8 bits and JPEG."""
    pixels = image.mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer, formats=("JPEG",)) as decoded:
        return torch.from_numpy(np.array(decoded)).permute(2, 0, 1).to(image.dtype) / 255
