"""Orthogonal bandlets: wavelet coefficients, transformed once more along the contours of each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, BasisError, Shape, image_shape

from .._papers import PEYRE_2008
from .._tensors import candidate_indices
from ._bandlets.alpert import alpert, inverse_alpert
from ._bandlets.flows import parameters
from ._bandlets.frame import LARGEST_LISTED, SIDES, Flow, Frame, Geometry, Settings, frame_of
from ._bandlets.quadtree import TOGETHER, Choice, Price, best_choices
from .wavelet import Wavelet, check_orthogonal, check_sides


class Bandlet(Basis):
    """Orthogonal bandlets of the second generation (Peyre & Mallat 2008), adapted to each image.

    Every detail subband of an orthonormal wavelet transform is cut by a quadtree into dyadic squares. In a square
    the samples are visited in the order of their coordinate across a flow and transformed by an orthonormal
    Alpert transform in that order: its vectors are narrow across the flow and long along it. Or they are left as
    they are. Partition and flows are those of the least sum of min(c^2, T^2) over the coefficients c, T the
    threshold, found by dynamic programming, and of what the geometry costs: what is minimised is
    ||f - f_M||^2 + T^2 (M + price of the geometry), f_M made of the M coefficients above T.

    With the defaults, squares have up to 16 samples a side and 32 directions, and geometry costs bits in noisy images
    alone. In squares that do not grow with the image, bandlets have the rate of wavelets, whatever they follow: for
    theirs, ``largest=null,directions=fine``. Then every number that describes a flow may cost as much as a coefficient
    (``count=parameters``), in clean images too, as in Peyre & Mallat.

    Every colour channel has a geometry of its own. As the coefficients may be left alone in every square, the oracle
    thresholding risk is never above that of the wavelet where sides need no padding. Every image size is taken. Where
    the wavelet cannot halve a side, the image is padded by repeating its last row and column, and cropped in synthesis.
    Then the basis is not orthonormal, and coefficients which padding has touched are left as they are, so that noise
    levels do not depend on the geometry.

    Parameters
    ----------
    wavelet
        The wavelet underneath; ``null`` for none: then the pixels themselves are cut into squares.
    levels
        How often the sides are halved; by default as ``wavelet`` does, and four times where sides have to be padded, if
        they are long enough.
    smallest, largest
        Sides of the smallest and the largest squares, in samples: powers of 2; ``null`` for squares up to the
        whole subband.
    directions
        Maximum in a square, equally spread; ``null`` for all distinct orderings: 4, 16, 72, 288 and 1164
        for sides 2, 4, 8, 16 and 32. ``fine`` for as many as it takes to be within half a sample across a square; in
        squares of more than 16 samples a side they are then searched for from those of their quarters on.
    flow
        ``straight``, or ``quadratic`` or ``cubic`` for flows that bend, which need ``fine`` directions.
    moments
        Vanishing moments of the Alpert transform, at most ``smallest``^2. 1 is Haar, as good or better by up to 0.4 dB
        where little but contours is to be seen (``c-alpha``), slightly worse on faces and photographs.
    count
        The geometry costs ``bits``, in noisy images, for every square larger than the smallest (is it cut?),
        for every leaf (has it a flow?), and for a flow the logarithm of the number of directions; or ``parameters``, in
        noisy and clean images, 1 for a straight flow, 2 for a quadratic and 3 for a cubic one, so that squares without
        a flow are free.
    price
        Price of a bit or of a parameter, in units of a kept coefficient; by default 0.25 for bits and 1 for parameters.
        With ``count=parameters,price=0`` the geometry is free.

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
        smallest: Annotated[int, Field(ge=2, le=LARGEST_LISTED)] = 4,
        largest: Annotated[int, Field(ge=2, le=SIDES[-1])] | None = 16,
        directions: Annotated[int, Field(ge=1)] | Literal["fine"] | None = 32,
        moments: Annotated[int, Field(ge=1, le=8)] = 2,
        price: Annotated[float, Field(ge=0)] | None = None,
        flow: Flow = "straight",
        count: Literal["bits", "parameters"] = "bits",
    ) -> None:
        for name, side in (("smallest", smallest), ("largest", largest)):
            if side is not None and side not in SIDES:
                raise ValueError(f"{name}={side}: accepted are powers of 2 from 2 on")
        if largest is not None and smallest > largest:
            raise ValueError(f"smallest={smallest} is larger than largest={largest}")
        if moments > smallest**2:
            raise ValueError(f"moments={moments}: accepted are 1 to smallest^2 = {smallest**2}")
        if directions != "fine" and (largest is None or largest > LARGEST_LISTED):
            raise ValueError(
                f"largest={largest} with directions={directions}: accepted are squares of up to {LARGEST_LISTED}, or "
                "directions=fine"
            )
        if directions != "fine" and flow != "straight":
            raise ValueError(f"flow={flow} with directions={directions}: accepted is directions=fine")
        if wavelet is None and levels is not None:
            raise ValueError(f"levels={levels} without a wavelet: accepted is null")
        self.count = count
        self.price = {"bits": 0.25, "parameters": 1.0}[count] if price is None else price
        self._settings = Settings(wavelet, levels, smallest, largest, directions, moments, flow)
        if wavelet is not None:
            # They say which names and levels are accepted.
            check_orthogonal(wavelet)
            Wavelet(wavelet, levels)

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) with sides too short for ``levels``."""
        check_sides("bandlet", self._settings.levels, shape)

    def check_filters(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that are padded: filters that shrink there are not symmetric."""
        self.check_shape(shape)
        if not self.is_orthonormal(shape):
            height, width = self._frame(shape).padded
            raise ValueError(
                f"filters that shrink in bandlets are compared for sizes that need no padding, such as "
                f"{height}x{width}, not for {shape[-2]}x{shape[-1]}"
            )

    def is_orthonormal(self, shape: Shape) -> bool:
        """Return whether images (C, H, W) need no padding."""
        return self._frame(shape).padded == shape[1:]

    def adapt(
        self, images: Tensor, threshold: float, noisy: bool = False, lines: Tensor | None = None
    ) -> AdaptedBandlet:
        """Return the bandlets of each image."""
        if not threshold >= 0:
            raise ValueError(f"threshold={threshold}: accepted are numbers of at least 0")
        shape = image_shape(images)
        self.check_shape(shape)
        frame = self._frame(shape)
        if lines is not None:
            if lines.shape != shape[1:]:
                raise ValueError(f"lines of shape {tuple(lines.shape)}: accepted is that of the images, {shape[1:]}")
            frame = frame.along(lines)
        price = Price()
        if lines is None and self.count == "parameters":
            price = Price(parameter=self.price)
        elif lines is None and noisy:
            price = Price(bit=self.price)
        with torch.no_grad():
            coefficients = frame.forward(images).flatten(2).flatten(0, 1)
            if threshold == 0:
                # All costs are 0: whatever is chosen keeps everything.
                coefficients, threshold = torch.zeros_like(coefficients), 1.0
            choices = best_choices(coefficients, frame.squares, frame.flows, frame.moments, threshold, price)
        return AdaptedBandlet(self, frame, shape, choices)

    def geometry(self, image: Tensor, threshold: float, noisy: bool = False, channel: int = 0) -> Geometry:
        """Return the squares and directions that are chosen for one image, shape (C, H, W)."""
        return self.adapt(image[None], threshold, noisy).geometry(channel=channel)

    def analysis(self, images: Tensor) -> Tensor:
        """Raise ``BasisError``: only bandlets adapted to images analyse them."""
        raise BasisError("bandlet has no geometry yet: call adapt(images, threshold), and use its result")

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Raise ``BasisError``: only bandlets adapted to images synthesise them."""
        return self.analysis(coefficients)

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviations under white noise: 1, and of shape (H, W) of the coefficients if padded."""
        return self._frame(shape).deviations

    def bands(self, shape: Shape) -> Tensor:
        """Return the labels of the wavelet, of shape (H, W) of the coefficients; 1 everywhere without a wavelet."""
        return self._frame(shape).bands

    def _frame(self, shape: Shape) -> Frame:
        return frame_of(self._settings, shape[-2], shape[-1])


class AsBefore(Basis):
    """Base of bases whose labels and noise levels are those of a plain basis, that is not adapted."""

    _plain: Basis

    def is_orthonormal(self, shape: Shape) -> bool:
        """Return whether images (C, H, W) need no padding."""
        return self._plain.is_orthonormal(shape)

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviations under white noise, as before adaptation."""
        return self._plain.noise_levels(shape)

    def bands(self, shape: Shape) -> Tensor:
        """Return the labels of the wavelet, as before adaptation."""
        return self._plain.bands(shape)


class AdaptedBandlet(AsBefore):
    """The bandlets of N images, or of one, which analyse any number of images in the same geometry."""

    def __init__(self, plain: Bandlet, frame: Frame, shape: Shape, choices: Sequence[Choice]) -> None:
        self._plain = plain
        self._frame = frame
        self._shape = shape
        self._choices = choices
        self._count = len(choices[0].leaves) // shape[0] if choices else None

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W), or larger where images have to be padded."""
        self._check(images, self._shape)
        return self._transformed(self._frame.forward(images), inverse=False)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        self._check(coefficients, (self._shape[0], *self._frame.padded))
        return self._frame.backward(self._transformed(coefficients, inverse=True))

    def geometry(self, image: int = 0, channel: int = 0) -> Geometry:
        """Return the squares and directions of one channel of one of the images that it was adapted to."""
        if any(flows.given is not None for flows in self._frame.flows):
            raise BasisError("bandlets along given lines have no directions")
        row = image * self._shape[0] + channel
        drawn = []
        for squares, flows, choice in zip(self._frame.squares, self._frame.flows, self._choices, strict=True):
            leaves = choice.leaves[row].nonzero().flatten().cpu()
            flowing, chosen = choice.flowing[row].cpu()[leaves].tolist(), choice.flows[row].cpu()[leaves].tolist()
            for place, flows_here, (direction, bend, twist) in zip(
                squares.places[leaves].tolist(), flowing, chosen, strict=True
            ):
                angle = flows.angles[direction] if flows_here else None
                curve = (bend / 2, twist / 2) if flows_here else (0.0, 0.0)
                drawn.append(self._frame.square(place[0], place[1], squares.side, angle, curve))
        return Geometry(tuple(sorted(drawn, key=lambda square: (square.band, -square.side, square.top, square.left))))

    def num_parameters(self) -> Tensor:
        """Return how many numbers describe the flows of each image, float64, shape (N,), or (1,) for any image."""
        counts = torch.zeros(self._count or 1, self._shape[0], dtype=torch.float64)
        for choice in self._choices:
            numbers = parameters(choice.flows) * (choice.leaves & choice.flowing)
            counts += numbers.sum(dim=1).reshape(counts.shape).cpu()
        return counts.sum(dim=1)

    def _transformed(self, coefficients: Tensor, inverse: bool) -> Tensor:
        """Transform the squares that have a direction, along it, or back."""
        values = coefficients.flatten()
        result = values.clone()
        pixels = coefficients.shape[-2] * coefficients.shape[-1]
        copies = 1 if self._count == len(coefficients) else len(coefficients)
        for squares, flows, choice in zip(self._frame.squares, self._frame.flows, self._choices, strict=True):
            moved = (choice.leaves & choice.flowing).repeat(copies, 1).flatten()
            every = candidate_indices(moved)
            for some in torch.split(every, max(1, TOGETHER // squares.side**2)):
                if len(some) == 0:
                    break
                rows, numbers = some.div(len(squares), rounding_mode="floor"), some % len(squares)
                chosen = choice.flows[rows % len(choice.flows), numbers]
                places = squares.samples.to(values.device)[numbers] + (rows * pixels)[:, None]
                visited = places.gather(1, flows.orders(chosen))
                source, target = (places, visited) if inverse else (visited, places)
                transform = inverse_alpert if inverse else alpert
                transformed = transform(values[source], self._frame.moments)
                if len(every) == len(moved):
                    transformed = torch.where(moved[some, None], transformed, result[target])
                result[target] = transformed
        return result.reshape(coefficients.shape)

    def _check(self, given: Tensor, shape: tuple[int, ...]) -> None:
        counts = self._count in (1, None, len(given))
        if not counts or given.shape[1:] != shape:
            number = "any number" if self._count in (1, None) else self._count
            raise ValueError(
                f"bandlet adapted to other images: it takes {number} of shape {shape}, not {tuple(given.shape)}"
            )
