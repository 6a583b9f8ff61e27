"""Orthogonal bandlets: wavelet coefficients, transformed once more along the contours of each image."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, BasisError, Shape, image_shape

from .._papers import PEYRE_2008
from ._bandlets.alpert import alpert_matrix
from ._bandlets.geometry import Geometry, Orientation, Square
from ._bandlets.orderings import Orderings, orderings
from ._bandlets.padding import padded_noise, padded_size
from ._bandlets.quadtree import Choice, best_choices
from ._bandlets.squares import Squares, dyadic_squares
from .wavelet import Wavelet, check_orthogonal

ORIENTATIONS: tuple[Orientation, ...] = ("horizontal", "vertical", "diagonal")
#: Squares of more samples need matrices of gigabytes.
LARGEST = 32


class Bandlet(Basis):
    """Orthogonal bandlets of the second generation (Peyre & Mallat 2008), adapted to each image.

    Every detail subband of an orthonormal wavelet transform is cut by a quadtree into dyadic squares. In a square
    the samples are visited in the order of their coordinate across a direction and transformed by an orthonormal
    Alpert transform in that order: its vectors are narrow across the direction and long along it. Or they are left as
    they are. Partition and directions are those of the least sum of min(c^2, T^2) over the coefficients c, T the
    threshold, found by dynamic programming. For noisy images every bit that describes the geometry costs ``price`` T^2
    more: what is minimised is ||f - f_M||^2 + T^2 (M + price bits), f_M made of the M coefficients above T (bits are
    counted in ``bandlets/quadtree.py``).

    Every colour channel has a geometry of its own. As the coefficients may be left alone in every square, the oracle
    thresholding risk is never above that of the wavelet. Every image size is taken. Where the wavelet cannot halve a
    side, the image is padded by repeating its last row and column, and cropped in synthesis. Then the basis is not
    orthonormal, and coefficients which padding has touched are left as they are, so that noise levels do not depend on
    the geometry.

    Parameters
    ----------
    wavelet
        The wavelet underneath; ``null`` for none: then the pixels themselves are cut into squares.
    levels
        How often the sides are halved; by default as ``wavelet`` does, and four times where sides have to be padded, if
        they are long enough.
    smallest, largest
        Sides of the smallest and the largest squares, in samples: powers of 2.
    directions
        Maximum in a square, equally spread; ``null`` for all distinct orderings: 4, 16, 72, 288 and 1164
        for sides 2, 4, 8, 16 and 32.
    moments
        Vanishing moments of the Alpert transform, at most ``smallest``^2. 1 is Haar, as good or better by up to .4 dB
        where little but contours is to be seen (``c-alpha``), slightly worse on faces and photographs.
    price
        Of a bit of geometry in noisy images, in units of a kept coefficient.

    Raises
    ------
    ValueError
        If a side is no power of 2 or out of range, or there is no such wavelet.
    """

    citation = PEYRE_2008
    adaptive = True
    label_parameters = ("wavelet",)

    def __init__(
        self,
        wavelet: str | None = "sym5",
        levels: Annotated[int, Field(ge=1)] | None = None,
        smallest: Annotated[int, Field(ge=2, le=LARGEST)] = 4,
        largest: Annotated[int, Field(ge=2, le=LARGEST)] = 16,
        directions: Annotated[int, Field(ge=1)] | None = 32,
        moments: Annotated[int, Field(ge=1, le=8)] = 2,
        price: Annotated[float, Field(ge=0)] = 0.25,
    ) -> None:
        for name, side in (("smallest", smallest), ("largest", largest)):
            if side not in (2, 4, 8, 16, 32):
                raise ValueError(f"{name}={side}: accepted are 2, 4, 8, 16 and 32")
        if smallest > largest:
            raise ValueError(f"smallest={smallest} is larger than largest={largest}")
        if not 1 <= moments <= smallest**2:
            raise ValueError(f"moments={moments}: accepted are 1 to smallest^2 = {smallest**2}")
        if directions is not None and directions < 1:
            raise ValueError(f"directions={directions}: accepted are 1, 2, ... or null for all")
        if wavelet is None and levels is not None:
            raise ValueError(f"levels={levels} without a wavelet: accepted is null")
        self.price = price
        self._settings = _Settings(wavelet, levels, smallest, largest, directions, moments)
        if wavelet is not None:
            # They say which names and levels are accepted.
            check_orthogonal(wavelet)
            Wavelet(wavelet, levels)

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) with sides too short for ``levels``."""
        levels = self._settings.levels
        if levels is not None and min(shape[1:]) < 1 << levels:
            raise ValueError(
                f"bandlet with levels={levels} needs image sides of at least {1 << levels}, not {shape[1]}x{shape[2]}"
            )

    def is_orthonormal(self, shape: Shape) -> bool:
        """Return whether images (C, H, W) need no padding."""
        return self._frame(shape).padded == shape[1:]

    def adapt(self, images: Tensor, threshold: float, noisy: bool = False) -> AdaptedBandlet:
        """Return the bandlets of each image.

        Raises
        ------
        ValueError
            If the threshold is negative.
        """
        if not threshold >= 0:
            raise ValueError(f"threshold={threshold}: accepted are numbers of at least 0")
        shape = image_shape(images)
        self.check_shape(shape)
        frame = self._frame(shape)
        with torch.no_grad():
            coefficients = frame.forward(images).flatten(2).flatten(0, 1)
            if threshold == 0:
                # All costs are 0: whatever is chosen keeps everything.
                coefficients, threshold = torch.zeros_like(coefficients), 1.0
            choices = best_choices(
                coefficients,
                frame.squares,
                frame.directions,
                frame.moments,
                threshold,
                self.price if noisy else 0.0,
            )
        return AdaptedBandlet(self, frame, shape, choices)

    def geometry(self, image: Tensor, threshold: float, noisy: bool = False, channel: int = 0) -> Geometry:
        """Return the squares and directions that are chosen for one image, shape (C, H, W)."""
        return self.adapt(image[None], threshold, noisy).geometry(channel=channel)

    def analysis(self, images: Tensor) -> Tensor:
        """Raise ``BasisError``: only bandlets adapted to images analyse them."""
        raise BasisError("bandlet: it has no geometry yet; call adapt(images, threshold), and use what it returns")

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Raise ``BasisError``: only bandlets adapted to images synthesise them."""
        raise BasisError("bandlet: it has no geometry yet; call adapt(images, threshold), and use what it returns")

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviations under white noise: 1, and of shape (H, W) of the coefficients if padded."""
        return self._frame(shape).deviations

    def bands(self, shape: Shape) -> Tensor:
        """Return the labels of the wavelet, of shape (H, W) of the coefficients; 1 everywhere without a wavelet."""
        return self._frame(shape).bands

    def _frame(self, shape: Shape) -> _Frame:
        return _frame(self._settings, shape[-2], shape[-1])


class AdaptedBandlet(Basis):
    """The bandlets of N images, or of one, which analyse any number of images in the same geometry.

    A coefficient of a square takes the place of one of its samples, row by row: first those of polynomials, then from
    long to short.
    """

    def __init__(self, plain: Bandlet, frame: _Frame, shape: Shape, choices: Sequence[Choice]) -> None:
        self._plain = plain
        self._frame = frame
        self._shape = shape
        self._choices = choices
        self._count = len(choices[0].leaves) // shape[0] if choices else None

    def is_orthonormal(self, shape: Shape) -> bool:
        """Return whether images (C, H, W) need no padding."""
        return self._plain.is_orthonormal(shape)

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviations under white noise, as before adaptation."""
        return self._plain.noise_levels(shape)

    def bands(self, shape: Shape) -> Tensor:
        """Return the labels of the wavelet, as before adaptation."""
        return self._plain.bands(shape)

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W), or larger where images have to be padded.

        Raises
        ------
        ValueError
            If the images differ in number or shape from those that it was adapted to.
        """
        self._check(images, self._shape)
        return self._transformed(self._frame.forward(images), inverse=False)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W).

        Raises
        ------
        ValueError
            If the coefficients differ in number or shape from those of what it was adapted to.
        """
        self._check(coefficients, (self._shape[0], *self._frame.padded))
        return self._frame.backward(self._transformed(coefficients, inverse=True))

    def geometry(self, image: int = 0, channel: int = 0) -> Geometry:
        """Return the squares and directions of one channel of one of the images that it was adapted to."""
        row = image * self._shape[0] + channel
        found = []
        for squares, orders, choice in zip(self._frame.squares, self._frame.directions, self._choices, strict=True):
            leaves = choice.leaves[row].nonzero().flatten().cpu()
            directions = choice.directions[row].cpu()[leaves].tolist()
            for place, direction in zip(squares.places[leaves].tolist(), directions, strict=True):
                angle = None if direction < 0 else orders.angles[direction]
                found.append(self._frame.square(place[0], place[1], squares.side, angle))
        return Geometry(tuple(sorted(found, key=lambda square: (square.band, -square.side, square.top, square.left))))

    def _transformed(self, coefficients: Tensor, inverse: bool) -> Tensor:
        """Transform the squares that have a direction, along it, or back."""
        values = coefficients.flatten()
        result = values.clone()
        pixels = coefficients.shape[-2] * coefficients.shape[-1]
        copies = 1 if self._count == len(coefficients) else len(coefficients)
        for squares, orders, choice in zip(self._frame.squares, self._frame.directions, self._choices, strict=True):
            turned = choice.leaves & (choice.directions >= 0)
            rows, numbers = turned.repeat(copies, 1).nonzero().T
            if len(rows) == 0:
                continue
            directions = choice.directions.repeat(copies, 1)[rows, numbers]
            places = squares.samples.to(values.device)[numbers] + (rows * pixels)[:, None]
            visited = places.gather(1, orders.samples.to(values.device)[directions])
            matrix = alpert_matrix(places.shape[1], self._frame.moments, values.dtype, values.device)
            if inverse:
                result[visited] = values[places] @ matrix
            else:
                result[places] = values[visited] @ matrix.T
        return result.reshape(coefficients.shape)

    def _check(self, given: Tensor, shape: tuple[int, ...]) -> None:
        counts = self._count in (1, None, len(given))
        if not counts or given.shape[1:] != shape:
            number = "any number" if self._count in (1, None) else self._count
            raise ValueError(
                f"bandlet adapted to other images: it takes {number} of shape {shape}, not {tuple(given.shape)}"
            )


@dataclass(frozen=True)
class _Settings:
    """The parameters on which the squares and their transforms depend."""

    wavelet: str | None
    levels: int | None
    smallest: int
    largest: int
    directions: int | None
    moments: int


@dataclass(frozen=True, eq=False)
class _Frame:
    """Precomputed data that depend only on the size of an image."""

    wavelet: Wavelet | None
    size: tuple[int, int]
    padded: tuple[int, int]
    bands: Tensor
    deviations: Tensor
    squares: tuple[Squares, ...]
    directions: tuple[Orderings, ...]
    moments: int

    def forward(self, images: Tensor) -> Tensor:
        """Return the wavelet coefficients of padded images; without a wavelet the images."""
        if self.wavelet is None:
            return images
        down, across = self.padded[0] - self.size[0], self.padded[1] - self.size[1]
        if down or across:
            images = torch.nn.functional.pad(images, (0, across, 0, down), mode="replicate")
        return self.wavelet.analysis(images)

    def backward(self, coefficients: Tensor) -> Tensor:
        """Return the images of wavelet coefficients, without their padding."""
        if self.wavelet is None:
            return coefficients
        return self.wavelet.synthesis(coefficients)[..., : self.size[0], : self.size[1]]

    def square(self, top: int, left: int, side: int, angle: float | None) -> Square:
        """Describe a square at a place in the array of all coefficients."""
        band = int(self.bands[top, left])
        if self.wavelet is None:
            return Square(band, 1, None, top, left, side, angle)
        # Bands are numbered from the coarsest on, three to a level.
        level, orientation = divmod(band - 1, 3)
        levels = int(self.bands.max()) // 3
        height, width = (extent >> (levels - level) for extent in self.padded)
        first_row, first_column = (height, 0, height)[orientation], (0, width, width)[orientation]
        scale = 1 << (levels - level)
        return Square(band, scale, ORIENTATIONS[orientation], top - first_row, left - first_column, side, angle)


@functools.lru_cache(maxsize=16)
def _frame(settings: _Settings, height: int, width: int) -> _Frame:
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
    sides = [side for side in (2, 4, 8, 16, 32) if settings.smallest <= side <= settings.largest]
    squares = tuple(level for level in dyadic_squares(bands, usable, sides) if len(level))
    directions = tuple(orderings(level.side, settings.directions) for level in squares)
    return _Frame(wavelet, size, padded, bands, deviations, squares, directions, settings.moments)
