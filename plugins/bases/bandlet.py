"""Orthogonal bandlets: wavelet coefficients that are transformed along the contours of each image."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import BasisError, image_shape
from gahbench_plugins.bases.alpert import alpert, inverse_alpert
from gahbench_plugins.bases.extended import Size, check_adapted, extend
from gahbench_plugins.bases.squares import (
    BATCH_VALUES,
    LARGEST_LISTED,
    SIDES,
    Choice,
    Squares,
    along_lines,
    best_choices,
    candidates,
    dyadic_squares,
    subbands_of,
)
from gahbench_plugins.bases.wavelet import Levels, Wavelet, check_name


class Bandlet(Wavelet):
    """Orthogonal bandlets of the second generation (Peyre & Mallat 2008), adapted to each image.

    Every detail subband of an orthonormal wavelet transform is divided by a quadtree into dyadic squares. A square may
    have a flow: then its samples are sorted by their coordinate across the flow, and transformed in this order by an
    orthonormal Alpert transform, whose vectors are narrow across the flow and long along it. Samples of squares without
    a flow are kept. Partition and flows minimise ||f - f_M||^2 + T^2 (M + price of the geometry), where f_M is the sum
    over the M coefficients above the threshold T. Without the price, the objective is the sum of min(c^2, T^2) over the
    coefficients c. The minimum is found by dynamic programming.

    With the defaults, squares have sides up to 16 samples and 32 directions, and the geometry has a price in bits only
    in noisy images. Since these squares do not grow with the image, bandlets have the rate of wavelets for every choice
    of flows; for the rate of bandlets use ``largest=null,directions=fine``. Every flow may then have the price of a
    coefficient (``count=parameters``), also in clean images, as in Peyre & Mallat.

    Every colour channel has a separate geometry. Since all squares may be without a flow, the oracle thresholding risk
    is at most the risk of the wavelet. Images of every size are transformed: they are extended as in ``Wavelet``, and
    coefficients influenced by the extension are kept, so that noise levels do not depend on the geometry.

    Parameters
    ----------
    wavelet
        Name of the orthonormal wavelet; ``null`` to divide the pixels into squares, without a wavelet.
    levels
        Number of times that the sides are halved; by default as in ``wavelet``.
    smallest
        Side of the smallest squares, in samples: a power of 2.
    largest
        Side of the largest squares, in samples: a power of 2; ``null`` for squares up to the whole subband.
    directions
        Maximum number of equally spaced directions. Directions of equal order of the samples count once: at most 4, 16,
        72, 288 and 1232 orders exist for sides 2, 4, 8, 16 and 32. ``fine`` for as many directions as needed for an
        error of at most half a sample across a square; in squares of more than 16 samples per side, the search then
        starts from the directions of the quarters.
    moments
        Number of vanishing moments of the Alpert transform, at most ``smallest``^2. With 1 moment it is the Haar
        transform, which is as good or better by up to 0.4 dB for images with few details except contours (``c-alpha``),
        and slightly worse on faces and photographs.
    count
        Unit of the price of the geometry. ``bits``, in noisy images: a bit for every square above the smallest size
        (split or not) and for every leaf (flow or not), and the binary logarithm of the number of directions for every
        flow. ``parameters``, in noisy and clean images: 1 for every flow; squares without a flow are free.
    price
        Price of a bit or of a parameter, in units of a kept coefficient; by default 0.25 for bits and 1 for parameters.
        With ``count=parameters,price=0`` the geometry is free.

    Raises
    ------
    ValueError
        If a side is not a power of 2 or out of range, or the wavelet does not exist.
    """

    display_name = "bandlets"
    citation = "peyre-2008"
    adaptive = True
    label_parameters = ("wavelet",)

    def __init__(
        self,
        wavelet: str | None = "sym5",
        levels: Levels = None,
        smallest: Annotated[int, Field(ge=2, le=LARGEST_LISTED)] = 4,
        largest: Annotated[int, Field(ge=2, le=SIDES[-1])] | None = 16,
        directions: Annotated[int, Field(ge=1)] | Literal["fine"] = 32,
        moments: Annotated[int, Field(ge=1, le=8)] = 2,
        price: Annotated[float, Field(ge=0)] | None = None,
        count: Literal["bits", "parameters"] = "bits",
    ) -> None:
        for name, side in (("smallest", smallest), ("largest", largest)):
            if side is not None and side not in SIDES:
                raise ValueError(f"{name}={side}; accepted: powers of 2 from 2 to {SIDES[-1]}")
        if largest is not None and smallest > largest:
            raise ValueError(f"smallest={smallest} is larger than largest={largest}")
        if moments > smallest**2:
            raise ValueError(f"moments={moments}; accepted: 1 to smallest^2 = {smallest**2}")
        if directions != "fine" and (largest is None or largest > LARGEST_LISTED):
            raise ValueError(
                f"largest={largest} with directions={directions}; accepted: squares of up to {LARGEST_LISTED}, or "
                "directions=fine"
            )
        if wavelet is None and levels is not None:
            raise ValueError(f"levels={levels} without a wavelet; accepted: null")
        if wavelet is not None:
            check_name(wavelet)
        # Without a wavelet, sides are halved 0 times.
        super().__init__(*(("haar", 0) if wavelet is None else (wavelet, levels)))
        self.moments = moments
        self.count = count
        self.price = {"bits": 0.25, "parameters": 1.0}[count] if price is None else price
        self._settings = (self.name, self.levels, smallest, largest, directions)
        self._squares: Sequence[Squares] = ()
        self._choices: Sequence[Choice] = ()
        self._shape = torch.Size()

    def extended_bands(self, size: Size) -> Tensor:
        """Return the labels of the wavelet coefficients, shape (H, W); 1 without a wavelet."""
        return super().extended_bands(size) if self.levels != 0 else torch.ones(size, dtype=torch.long)

    def adapt(self, images: Tensor, threshold: float, noisy: bool = False, lines: Tensor | None = None) -> Bandlet:
        """Return the bandlets of each image; the bandlets of a single image transform any number of images.

        If ``lines`` are given, a function of the pixels of each image, shape (N, H, W), all flows follow its level
        lines, and have no price.
        """
        if not threshold >= 0:
            raise ValueError(f"threshold={threshold}; accepted: numbers of at least 0")
        shape = image_shape(images)
        self.check_shape(shape)
        squares: Sequence[Squares] = dyadic_squares(*self._settings, (shape[1], shape[2]))
        bit = self.price if lines is None and self.count == "bits" and noisy else 0.0
        parameter = self.price if lines is None and self.count == "parameters" else 0.0
        if lines is not None and lines.shape != (len(images), *shape[1:]):
            raise ValueError(f"lines of shape {tuple(lines.shape)}; accepted: {(len(images), *shape[1:])}")
        size = self.valid_size(*shape[1:])
        with torch.no_grad():
            if lines is not None:
                lines = extend(lines.to(images.device).double(), size).repeat_interleave(shape[0], dim=0)
                squares = along_lines(squares, lines, self)
            coefficients = super().forward(extend(images, size))
            planes = coefficients.flatten(2).flatten(0, 1)
            if threshold == 0:
                # All costs are 0, and every choice keeps all coefficients.
                planes, threshold = torch.zeros_like(planes), 1.0
            adapted = copy.copy(self)
            adapted._squares, adapted._shape = squares, coefficients.shape
            adapted._choices = best_choices(planes, squares, self.moments, threshold, bit, parameter)
        return adapted

    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W), of images that the wavelet transforms."""
        return self._along_flows(super().forward(images), inverse=False)

    def backward(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        return super().backward(self._along_flows(coefficients, inverse=True))

    def geometry(self, image: Tensor, threshold: float, noisy: bool = False, channel: int = 0) -> tuple[Square, ...]:
        """Return the squares and directions of a channel of an image, shape (C, H, W)."""
        return self.adapt(image[None], threshold, noisy).squares(channel=channel)

    def squares(self, image: int = 0, channel: int = 0) -> tuple[Square, ...]:
        """Return the squares and directions of a channel of an image to which the basis is adapted."""
        if any(squares.fixed is not None for squares in self._squares):
            raise BasisError("bandlets along given lines have no directions")
        row = image * self._shape[1] + channel
        subbands = subbands_of(self, (self._shape[2], self._shape[3]))
        result = []
        for squares, choice in zip(self._squares, self._choices, strict=True):
            for number in choice.is_leaf[row].nonzero()[:, 0].tolist():
                band = int(squares.bands[number])
                subband, (top, left) = subbands[band], squares.corners[number].tolist()
                angle = squares.angles[choice.directions[row, number]] if choice.has_flow[row, number] else None
                position = (top - subband.top, left - subband.left, squares.side)
                result.append(Square(band, subband.scale, subband.orientation, *position, angle))
        return tuple(sorted(result, key=lambda square: (square.band, -square.side, square.top, square.left)))

    def _along_flows(self, coefficients: Tensor, inverse: bool) -> Tensor:
        """Transform the squares that have a flow, or invert the transform."""
        check_adapted(self, self._shape, coefficients.shape)
        values = coefficients.flatten()
        result = values.clone()
        pixels = coefficients.shape[-2] * coefficients.shape[-1]
        for squares, choice in zip(self._squares, self._choices, strict=True):
            chosen, directions = (choice.is_leaf & choice.has_flow).flatten(), choice.directions.flatten()
            has_flow = chosen.repeat(len(coefficients) // self._shape[0])
            flowing = candidates(has_flow)
            for batch in torch.split(flowing, max(1, BATCH_VALUES // squares.side**2)):
                if len(batch) == 0:
                    break
                planes, numbers = batch.div(len(squares), rounding_mode="floor"), batch % len(squares)
                indices = squares.samples.to(values.device)[numbers] + (planes * pixels)[:, None]
                own = batch % len(chosen)
                ordered = indices.gather(1, squares.orders(directions[own], own))
                source, target = (indices, ordered) if inverse else (ordered, indices)
                transformed = (inverse_alpert if inverse else alpert)(values[source], self.moments)
                if len(flowing) == len(has_flow):
                    transformed = torch.where(has_flow[batch, None], transformed, result[target])
                result[target] = transformed
        return result.reshape(coefficients.shape)


@dataclass(frozen=True)
class Square:
    """A dyadic square of a subband: its position and side in samples, and the angle of its flow in degrees.

    The ``scale`` is the number of pixels of a sample, and ``orientation`` that of structures in the subband, ``None``
    without a wavelet. Angles are counter-clockwise from the rows of the grid, and ``None`` without a flow.
    """

    band: int
    scale: int
    orientation: str | None
    top: int
    left: int
    side: int
    angle: float | None

    @property
    def pixels(self) -> tuple[int, int, int]:
        """First row, first column and side of the square's area in the image, in pixels."""
        return self.scale * self.top, self.scale * self.left, self.scale * self.side
