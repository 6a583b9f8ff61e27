"""What bandlets need that depends on the size of an image alone: wavelet, padding, squares and flows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..._kept_tensors import kept_tensors
from ..wavelet import Wavelet
from .flows import Flows
from .geometry import Orientation, Square
from .orderings import orderings
from .padding import padded_noise, padded_size
from .squares import Squares, dyadic_squares

Flow = Literal["straight", "quadratic", "cubic"]
DEGREES: dict[Flow, int] = {"straight": 1, "quadratic": 2, "cubic": 3}
ORIENTATIONS: tuple[Orientation, ...] = ("horizontal", "vertical", "diagonal")
#: Sides of squares that can be given, in samples.
SIDES = tuple(1 << power for power in range(1, 13))
#: In larger squares a list of directions would be too long.
LARGEST_LISTED = 32


@dataclass(frozen=True)
class Settings:
    """The parameters on which the squares and their transforms depend."""

    wavelet: str | None
    levels: int | None
    smallest: int
    largest: int | None
    directions: int | Literal["fine"] | None
    moments: int
    flow: Flow


@dataclass(frozen=True, eq=False)
class Frame:
    """Precomputed data that depend only on the size of an image."""

    wavelet: Wavelet | None
    size: tuple[int, int]
    padded: tuple[int, int]
    bands: Tensor
    deviations: Tensor
    squares: tuple[Squares, ...]
    flows: tuple[Flows, ...]
    moments: int

    def forward(self, images: Tensor) -> Tensor:
        """Return the wavelet coefficients of padded images; without a wavelet the images."""
        return images if self.wavelet is None else self.wavelet.analysis(self._pad(images))

    def backward(self, coefficients: Tensor) -> Tensor:
        """Return the images of wavelet coefficients, without their padding."""
        if self.wavelet is None:
            return coefficients
        return self.wavelet.synthesis(coefficients)[..., : self.size[0], : self.size[1]]

    def along(self, lines: Tensor) -> Frame:
        """Return the same with flows along the level lines of a function of the pixels, shape (H, W)."""
        finer = self._pad(lines.cpu().double()[None, None])
        values = finer[0, 0].clone()
        if self.wavelet is not None:
            for _ in range(int(self.bands.max()) // 3):
                # A coefficient is where the middle of its pixels is.
                finer = torch.nn.functional.avg_pool2d(finer, 2)
                height, width = finer.shape[2:]
                for top, left in ((0, width), (height, 0), (height, width)):
                    values[top : top + height, left : left + width] = finer[0, 0]
        flows = tuple(
            Flows(squares.side, given=values.flatten()[squares.samples].argsort(dim=1, stable=True))
            for squares in self.squares
        )
        return dataclasses.replace(self, flows=flows)

    def _pad(self, images: Tensor) -> Tensor:
        down, across = self.padded[0] - self.size[0], self.padded[1] - self.size[1]
        if not (down or across):
            return images
        return torch.nn.functional.pad(images, (0, across, 0, down), mode="replicate")

    def square(
        self, top: int, left: int, side: int, angle: float | None, curve: tuple[float, float] = (0.0, 0.0)
    ) -> Square:
        """Describe a square at a place in the array of all coefficients."""
        band = int(self.bands[top, left])
        if self.wavelet is None:
            return Square(band, 1, None, top, left, side, angle, *curve)
        # Bands are numbered from the coarsest on, three to a level.
        level, orientation = divmod(band - 1, 3)
        levels = int(self.bands.max()) // 3
        height, width = (extent >> (levels - level) for extent in self.padded)
        first_row, first_column = (height, 0, height)[orientation], (0, width, width)[orientation]
        scale = 1 << (levels - level)
        place = (top - first_row, left - first_column)
        return Square(band, scale, ORIENTATIONS[orientation], *place, side, angle, *curve)


@kept_tensors(16)
def frame_of(settings: Settings, height: int, width: int) -> Frame:
    """Return what bandlets need for images of a size, computed once."""
    size = padded = (height, width)
    wavelet = None
    bands = torch.ones(size, dtype=torch.long)
    deviations = torch.ones((), dtype=torch.float64)
    usable = torch.ones(size, dtype=torch.bool)
    if settings.wavelet is not None:
        wavelet = Wavelet(settings.wavelet, settings.levels)
        padded = padded_size(height, width, settings.levels)
        bands = wavelet.bands((1, *padded))
        usable = torch.ones(padded, dtype=torch.bool)
        if padded != size:
            deviations, usable = padded_noise(settings.wavelet, int(bands.max()) // 3, size, padded)
    largest = max(size) if settings.largest is None else settings.largest
    sides = [side for side in SIDES if settings.smallest <= side <= largest]
    squares = tuple(level for level in dyadic_squares(bands, usable, sides) if len(level))
    flows = tuple(_flows(settings, level.side) for level in squares)
    return Frame(wavelet, size, padded, bands, deviations, squares, flows, settings.moments)


def _flows(settings: Settings, side: int) -> Flows:
    if settings.directions == "fine":
        return Flows(side, DEGREES[settings.flow])
    return Flows(side, table=orderings(side, settings.directions))
