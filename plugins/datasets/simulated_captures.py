"""Pairs that a simulated camera takes of photographs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch.nn import functional

from gahbench import Card

from .._papers import MALVAR_2004
from ._camera import Camera, to_linear
from ._pairs import NoiseLevel, Pair, Pairs, PairSet
from ._reading.fetched import skimage_file
from ._reading.preprocess import LUMA, Colour, channels_first
from .photos import EMBEDDED


class SimulatedCaptures(PairSet):
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
    citation = MALVAR_2004

    def __init__(
        self,
        photons: Annotated[float, Field(ge=1, le=1e6)] = 200.0,
        read_noise: Annotated[float, Field(ge=0, le=1e4)] = 3.0,
        mosaic: bool = True,
        gamma: bool = True,
        quality: Annotated[int, Field(ge=1, le=100)] | None = 90,
        size: Annotated[int, Field(ge=16)] | None = None,
        sigma: NoiseLevel = "rms",
        colour: Colour = "mean",
    ) -> None:
        super().__init__(size, sigma)
        self.photons = photons
        self.read_noise = read_noise
        self.mosaic = mosaic
        self.gamma = gamma
        self.quality = quality
        self.colour: Colour = colour

    @property
    def card(self) -> Card:
        """Origin and licence of the images."""
        names = ", ".join(Path(name).stem for name in self._photographs)
        return Card(
            f"simulated captures of photographs embedded in scikit-image: {names}", "CC0 or public domain", is_free=True
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """A note that the noise is simulated."""
        return ("the noise is simulated by a camera chain, and not recorded", *super().notes)

    @property
    def _photographs(self) -> list[str]:
        return [name for name, (_, colours) in EMBEDDED.items() if colours or self.colour != "rgb"]

    @property
    def _where(self) -> str:
        return "simulated captures"

    @functools.cached_property
    def _all(self) -> Pairs:
        camera = Camera(self.photons, self.read_noise, self.mosaic, self.gamma, self.quality)
        named: dict[str, Pair | str] = {}
        for index, name in enumerate(self._photographs):
            with Image.open(skimage_file(name)) as photograph:
                pixels = torch.from_numpy(channels_first(np.asarray(photograph)).copy()).double() / 255
            # After averaging, sides are multiples of 16: the pattern of colours needs even sides, and wavelets more.
            height, width = (side // 32 * 32 for side in pixels.shape[2:])
            scene = functional.avg_pool2d(to_linear(pixels[:, :, :height, :width]), 2)[0].expand(3, -1, -1)
            named[name] = Pair(*(self._in_colour(image) for image in camera.take(scene, index)))
        pairs = Pairs.collect(named)
        pairs.check_usable(self, "raise", self._where)
        return pairs

    def _in_colour(self, image: torch.Tensor) -> torch.Tensor:
        if self.colour == "rgb":
            return image.float()
        weights = image.new_tensor(LUMA if self.colour == "luma" else (1 / 3,) * 3)
        return (image * weights.view(3, 1, 1)).sum(0, keepdim=True).float()
