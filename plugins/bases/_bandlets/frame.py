"""Data of bandlets that depend only on the size of an image: wavelet, padding, dyadic squares and flows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..._tensors import cache_tensors
from .._extension import NO_NOISE
from ..wavelet import COARSE, SMALLEST_APPROXIMATION, Wavelet, wavelet_matrix
from .flows import Flows, orderings

Orientation = Literal["horizontal", "vertical", "diagonal"]
Flow = Literal["straight", "quadratic", "cubic"]
DEGREES: dict[Flow, int] = {"straight": 1, "quadratic": 2, "cubic": 3}
ORIENTATIONS: tuple[Orientation, ...] = ("horizontal", "vertical", "diagonal")
#: Accepted sides of squares, in samples.
SIDES = tuple(1 << power for power in range(1, 13))
#: Maximum side of squares with a list of directions, which would be too long for larger squares.
LARGEST_LISTED = 32
#: Without ``levels``, maximum number of times that padded sides can be halved.
DEEPEST_PADDED = 4


@dataclass(frozen=True, eq=False)
class Squares:
    """All squares of one size, in all subbands."""

    side: int
    corners: Tensor
    samples: Tensor
    quarters: Tensor

    def __len__(self) -> int:
        return len(self.corners)


def dyadic_squares(bands: Tensor, usable: Tensor, sides: Sequence[int]) -> tuple[Squares, ...]:
    """Return the squares that lie within a subband and have only usable samples."""
    labels = sorted(set(bands.flatten().tolist()) - {0})
    levels: list[Squares] = []
    for side in sides:
        corners = torch.cat([_corners(bands == label, usable, side) for label in labels])
        quarters = _quarters(corners, levels[-1]) if levels else corners.new_empty((len(corners), 0))
        offsets = (torch.arange(side)[:, None] * bands.shape[1] + torch.arange(side)[None, :]).flatten()
        samples = (corners[:, 0] * bands.shape[1] + corners[:, 1])[:, None] + offsets
        levels.append(Squares(side, corners, samples, quarters))
    return tuple(levels)


def _corners(band: Tensor, usable: Tensor, side: int) -> Tensor:
    """Return the corners of the squares of a subband."""
    rows, columns = band.nonzero().T
    top, left = int(rows.min()), int(columns.min())
    height, width = int(rows.max()) + 1 - top, int(columns.max()) + 1 - left
    down, across = height // side, width // side
    within = usable[top : top + down * side, left : left + across * side]
    is_usable = within.reshape(down, side, across, side).all(dim=3).all(dim=1)
    return is_usable.nonzero() * side + torch.tensor([top, left])


def _quarters(corners: Tensor, smaller: Squares) -> Tensor:
    """Return the indices of the four quarters of each square among smaller squares."""
    quarters = corners[:, None, :] + smaller.side * torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    if len(corners) == 0:
        return torch.empty(0, 4, dtype=torch.long)
    width = int(smaller.corners[:, 1].max()) + 1
    keys, order = (smaller.corners[:, 0] * width + smaller.corners[:, 1]).sort()
    return order[torch.searchsorted(keys, quarters[..., 0] * width + quarters[..., 1])]


@dataclass(frozen=True)
class Square:
    """A dyadic square of a subband."""

    band: int
    scale: int
    orientation: Orientation | None
    top: int
    left: int
    side: int
    angle: float | None
    bend: float = 0.0
    twist: float = 0.0

    @property
    def pixels(self) -> tuple[int, int, int]:
        """First row, first column and side of the square's area in the image, in pixels."""
        return self.scale * self.top, self.scale * self.left, self.scale * self.side


@dataclass(frozen=True)
class Geometry:
    """The geometry of a channel of an image."""

    squares: tuple[Square, ...]


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
        """Return the wavelet coefficients of padded images, or the images if there is no wavelet."""
        return images if self.wavelet is None else self.wavelet.analysis(self._pad(images))

    def backward(self, coefficients: Tensor) -> Tensor:
        """Return the images of wavelet coefficients, without padding."""
        if self.wavelet is None:
            return coefficients
        return self.wavelet.synthesis(coefficients)[..., : self.size[0], : self.size[1]]

    def with_flows_along(self, lines: Tensor) -> Frame:
        """Return a copy with flows along the level lines of a function of the pixels, shape (H, W)."""
        pooled = self._pad(lines.cpu().double()[None, None])
        values = pooled[0, 0].clone()
        if self.wavelet is not None:
            for _ in range(int(self.bands.max()) // 3):
                # A coefficient is located at the centre of its pixels.
                pooled = torch.nn.functional.avg_pool2d(pooled, 2)
                height, width = pooled.shape[2:]
                for top, left in ((0, width), (height, 0), (height, width)):
                    values[top : top + height, left : left + width] = pooled[0, 0]
        flows = tuple(
            Flows(squares.side, fixed_orders=values.flatten()[squares.samples].argsort(dim=1, stable=True))
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
        """Describe a square by its corner in the array of all coefficients."""
        band = int(self.bands[top, left])
        if self.wavelet is None:
            return Square(band, 1, None, top, left, side, angle, *curve)
        # Bands are numbered from coarse to fine, three per level.
        level, orientation = divmod(band - 1, 3)
        levels = int(self.bands.max()) // 3
        height, width = (extent >> (levels - level) for extent in self.padded)
        first_row, first_column = (height, 0, height)[orientation], (0, width, width)[orientation]
        scale = 1 << (levels - level)
        corner = (top - first_row, left - first_column)
        return Square(band, scale, ORIENTATIONS[orientation], *corner, side, angle, *curve)


@cache_tensors(16)
def build_frame(settings: Settings, height: int, width: int) -> Frame:
    """Return the frame for images of the given size, from the cache if possible."""
    size = padded = (height, width)
    wavelet = None
    bands = torch.ones(size, dtype=torch.long)
    deviations = torch.ones((), dtype=torch.float64)
    usable = torch.ones(size, dtype=torch.bool)
    if settings.wavelet is not None:
        wavelet = Wavelet(settings.wavelet, settings.levels)
        padded = _padded_size(height, width, settings.levels)
        bands = wavelet.bands((1, *padded))
        usable = torch.ones(padded, dtype=torch.bool)
        if padded != size:
            deviations, usable = _padded_noise(settings.wavelet, int(bands.max()) // 3, size, padded)
    largest = max(size) if settings.largest is None else settings.largest
    sides = [side for side in SIDES if settings.smallest <= side <= largest]
    squares = tuple(level for level in dyadic_squares(bands, usable, sides) if len(level))
    if settings.directions == "fine":
        flows = tuple(Flows(level.side, DEGREES[settings.flow]) for level in squares)
    else:
        flows = tuple(Flows(level.side, table=orderings(level.side, settings.directions)) for level in squares)
    return Frame(wavelet, size, padded, bands, deviations, squares, flows, settings.moments)


def _padded_size(height: int, width: int, levels: int | None) -> tuple[int, int]:
    """Return the size to which images are padded: the smallest that can be halved ``levels`` times."""
    if levels is None:
        down, across = height, width
        while down % 2 == across % 2 == 0 and min(down, across) // 2 >= SMALLEST_APPROXIMATION:
            down, across = down // 2, across // 2
        if height % 2 == width % 2 == 0 and min(down, across) < COARSE:
            return height, width
        levels = 1
        while levels < DEEPEST_PADDED and min(height, width) >> (levels + 1) >= SMALLEST_APPROXIMATION:
            levels += 1
    multiple = 1 << levels
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def _padded_noise(wavelet: str, levels: int, size: tuple[int, int], padded: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return deviations of white noise in the coefficients of padded images, and a mask of untouched coefficients."""
    rows = _axis_noise(wavelet, levels, size[0], padded[0])
    columns = _axis_noise(wavelet, levels, size[1], padded[1])
    deviations = torch.ones(padded, dtype=torch.float64)
    untouched = torch.ones(padded, dtype=torch.bool)
    for level in range(levels):
        height, width = padded[0] >> level, padded[1] >> level
        (down, untouched_down), (across, untouched_across) = rows[level], columns[level]
        deviations[:height, :width] = down[:, None] * across[None, :]
        untouched[:height, :width] = untouched_down[:, None] & untouched_across[None, :]
    return torch.where(deviations > NO_NOISE, deviations, 0), untouched


def _axis_noise(wavelet: str, levels: int, size: int, padded: int) -> list[tuple[Tensor, Tensor]]:
    """Return deviations, and masks of samples without influence of padding, along an axis for each level."""
    padding = torch.zeros(padded, size, dtype=torch.float64)
    padding[torch.arange(padded), torch.arange(padded).clamp(max=size - 1)] = 1
    approximation = torch.eye(padded, dtype=torch.float64)
    statistics = []
    for level in range(levels):
        analysis = wavelet_matrix(wavelet, padded >> level) @ approximation
        statistics.append(((analysis @ padding).norm(dim=1), (analysis[:, size:].abs() < 1e-12).all(dim=1)))
        approximation = analysis[: len(analysis) // 2]
    return statistics
