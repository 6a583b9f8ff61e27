"""Pairs that a simulated camera takes of photographs: photons on a Bayer mosaic, demosaicing, gamma, and JPEG."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gahbench import Card, generator
from gahbench_plugins.datasets import reading
from gahbench_plugins.datasets.pairs import NoiseLevel, Pair, Pairs
from gahbench_plugins.datasets.photos import EMBEDDED

#: Filters of Malvar, He & Cutler 2004, times 8: green at red or blue pixels; a colour at green pixels whose neighbours
#: of this colour are in the same row; and a colour at pixels of the opposite colour.
_GREEN = ((0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0), (0, 0, -1, 0, 0))
_IN_ROW = ((0, 0, 0.5, 0, 0), (0, -1, 0, -1, 0), (-1, 4, 5, 4, -1), (0, -1, 0, -1, 0), (0, 0, 0.5, 0, 0))
_OPPOSITE = ((0, 0, -1.5, 0, 0), (0, 2, 0, 2, 0), (-1.5, 0, 6, 0, -1.5), (0, 2, 0, 2, 0), (0, 0, -1.5, 0, 0))
#: The sRGB curve is linear below this intensity, and a power above it.
_TOE, _SLOPE, _OFFSET, _POWER = 0.0031308, 12.92, 0.055, 2.4


class SimulatedCaptures(Pairs):
    """Simulated pairs: a camera chain with known noise, applied to eight photographs in the public domain or CC0.

    The pairs are simulated, and show how noise of this kind affects denoisers; a board of them is no measurement of a
    camera. The photographs come with scikit-image. The chain:

    1. The photograph is converted from sRGB to linear intensity x, and averaged over blocks of 2x2 pixels, which
       removes most of its own noise, interpolation and compression, and cropped to sides that are multiples of 16.
    2. A sensor with the Bayer pattern RGGB sees one colour in each pixel.
    3. Photons and read-out: y = Poisson(N x) / N + (r / N) z with N photons at white, read noise of r electrons, and z
       standard normal. The sensor saturates at 1.
    4. Demosaicing by the linear filters of Malvar, He & Cutler (2004).
    5. Clipping to [0, 1] and the sRGB curve, which amplifies the noise of dark regions.
    6. Rounding to 8 bits and JPEG with 4:2:0 colours.

    The reference passes through steps 1, 2, 4 and 5, so it has no noise, and interpolation is not counted as noise.
    There is no white balance, colour matrix, sharpening or tone mapping. ``mosaic=false``, ``gamma=false`` and
    ``quality=null`` leave out steps, which shows the causes of a gap: without all three, noise is white, and depends on
    the intensity.

    Parameters
    ----------
    photons
        Photons N that a white pixel counts: about 1000 at high sensitivity, 100 in the dark.
    read_noise
        Standard deviation r of the read noise, in electrons.
    mosaic
        Whether the sensor has the Bayer pattern; otherwise it sees all colours in each pixel.
    gamma
        Whether the images have the sRGB curve; otherwise they are linear.
    quality
        Quality of JPEG; ``null`` for images that are neither rounded nor compressed.
    size
        Side in pixels of the squares into which pairs are cut; by default images are whole, of several sizes.
    sigma
        The noise level of each image, as for ``captures``.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``: only
        the four photographs in colour.
    """

    display_name = "simulated captures, {photons} photons"
    label_parameters = ("photons",)
    citation = "malvar-2004"

    def __init__(
        self,
        photons: Annotated[float, Field(ge=1, le=1e6)] = 200.0,
        read_noise: Annotated[float, Field(ge=0, le=1e4)] = 3.0,
        mosaic: bool = True,
        gamma: bool = True,
        quality: Annotated[int, Field(ge=1, le=100)] | None = 90,
        size: Annotated[int, Field(ge=16)] | None = None,
        sigma: NoiseLevel = "rms",
        colour: reading.Colour = "mean",
    ) -> None:
        super().__init__(size, sigma, "simulated captures")
        self.photons = photons
        self.read_noise = read_noise
        self.mosaic = mosaic
        self.gamma = gamma
        self.quality = quality
        self.colour: reading.Colour = colour
        self.photographs = [name for name, (_, colours) in EMBEDDED.items() if colours or colour != "rgb"]

    @property
    def card(self) -> Card:
        """Origin and licence of the images."""
        names = ", ".join(Path(name).stem for name in self.photographs)
        return Card(
            f"simulated captures of photographs embedded in scikit-image: {names}", "CC0 or public domain", is_free=True
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """A note that the noise is simulated."""
        return ("the noise is simulated by a camera chain, and not recorded", *super().notes)

    def read(self) -> dict[str, Pair | str]:
        """Return the pairs that the camera takes, by the name of the photograph."""
        named: dict[str, Pair | str] = {}
        for index, name in enumerate(self.photographs):
            photograph = reading.channels_first(reading.read_image(reading.embedded_file(name)))
            pixels = torch.from_numpy(photograph.copy()).double() / 255
            # After averaging, sides are multiples of 16: the pattern of colours needs even sides, and wavelets more.
            height, width = (side // 32 * 32 for side in pixels.shape[1:])
            scene = functional.avg_pool2d(to_linear(pixels[:, :height, :width]), 2).expand(3, -1, -1)
            clean, noisy = (reading.mix(image, self.colour).float() for image in self.take(scene, index))
            named[name] = Pair(clean, noisy)
        return named

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
