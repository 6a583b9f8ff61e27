"""Orthogonal bandlets: wavelet coefficients that are transformed along the contours of each image."""

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
from ._bandlets.frame import LARGEST_LISTED, SIDES, Flow, Frame, Geometry, Settings, build_frame
from ._bandlets.quadtree import BATCH_VALUES, Choice, Price, best_choices
from .wavelet import Wavelet, check_orthogonal, check_sides


class Bandlet(Basis):
    """Orthogonal bandlets of the second generation (Peyre & Mallat 2008), adapted to each image.

    Every detail subband of an orthonormal wavelet transform is divided by a quadtree into dyadic squares. A square may
    have a flow: then its samples are sorted by their coordinate across the flow, and transformed in this order by an
    orthonormal Alpert transform, whose vectors are narrow across the flow and long along it. Samples of squares without
    a flow are kept. Partition and flows minimise ||f - f_M||^2 + T^2 (M + price of the geometry), where f_M is the sum
    over the M coefficients above the threshold T. Without the price, the objective is the sum of min(c^2, T^2) over the
    coefficients c. The minimum is found by dynamic programming.

    With the defaults, squares have sides up to 16 samples and 32 directions, and the geometry has a price in bits only
    in noisy images. Since these squares do not grow with the image, bandlets have the rate of wavelets for every choice
    of flows; for the rate of bandlets use ``largest=null,directions=fine``. Every parameter of a flow may then have the
    price of a coefficient (``count=parameters``), also in clean images, as in Peyre & Mallat.

    Every colour channel has a separate geometry. Since all squares may be without a flow, the oracle thresholding risk
    is at most the risk of the wavelet, unless sides are padded. Images of every size are transformed: if the wavelet
    cannot halve a side, the image is padded by repeating its last row and column, and cropped in synthesis. Then the
    basis is not orthonormal, and coefficients influenced by padding are kept, so that noise levels do not depend on the
    geometry.

    Parameters
    ----------
    wavelet
        Name of the orthonormal wavelet; ``null`` to divide the pixels into squares, without a wavelet.
    levels
        Number of times that the sides are halved; by default as in ``wavelet``, and four times for padded sides, if
        they are long enough.
    smallest
        Side of the smallest squares, in samples: a power of 2.
    largest
        Side of the largest squares, in samples: a power of 2; ``null`` for squares up to the whole subband.
    directions
        Maximum number of equally spaced directions; ``null`` for all distinct orderings: 4, 16, 72, 288 and 1232 for
        sides 2, 4, 8, 16 and 32. ``fine`` for as many directions as needed for an error of at most half a sample across
        a square; in squares of more than 16 samples per side, the search then starts from the directions of the
        quarters.
    flow
        ``straight``, or ``quadratic`` or ``cubic`` for curved flows, which need ``directions=fine``.
    moments
        Number of vanishing moments of the Alpert transform, at most ``smallest``^2. With 1 moment it is the Haar
        transform, which is as good or better by up to 0.4 dB for images with few details except contours (``c-alpha``),
        and slightly worse on faces and photographs.
    count
        Unit of the price of the geometry. ``bits``, in noisy images: a bit for every square above the smallest size
        (split or not) and for every leaf (flow or not), and the binary logarithm of the number of directions for every
        flow. ``parameters``, in noisy and clean images: 1 for a straight, 2 for a quadratic and 3 for a cubic flow;
        squares without a flow are free.
    price
        Price of a bit or of a parameter, in units of a kept coefficient; by default 0.25 for bits and 1 for parameters.
        With ``count=parameters,price=0`` the geometry is free.

    Raises
    ------
    ValueError
        If a side is not a power of 2 or out of range, or the wavelet does not exist.
    """

    display_name = "bandlets"
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
        if directions != "fine" and flow != "straight":
            raise ValueError(f"flow={flow} with directions={directions}; accepted: directions=fine")
        if wavelet is None and levels is not None:
            raise ValueError(f"levels={levels} without a wavelet; accepted: null")
        self.count = count
        self.price = {"bits": 0.25, "parameters": 1.0}[count] if price is None else price
        self._settings = Settings(wavelet, levels, smallest, largest, directions, moments, flow)
        if wavelet is not None:
            # These calls raise errors that list the accepted names and levels.
            check_orthogonal(wavelet)
            Wavelet(wavelet, levels)

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) with sides too short for ``levels``."""
        check_sides("bandlet", self._settings.levels, shape)

    def check_filters(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that are padded: shrinkage filters are then not symmetric."""
        self.check_shape(shape)
        if not self.is_orthonormal(shape):
            height, width = self._frame(shape).padded
            raise ValueError(
                f"images of {shape[-2]}x{shape[-1]} are padded for bandlets, and filters are compared only without "
                f"padding; accepted: sizes such as {height}x{width}"
            )

    def is_orthonormal(self, shape: Shape) -> bool:
        """Return whether images (C, H, W) need no padding."""
        return self._frame(shape).padded == shape[1:]

    def adapt(
        self, images: Tensor, threshold: float, noisy: bool = False, lines: Tensor | None = None
    ) -> AdaptedBandlet:
        """Return the bandlets of each image; see :meth:`gahbench.Basis.adapt`.

        If ``lines`` are given, a function of the pixels of shape (H, W), all flows follow its level lines.
        """
        if not threshold >= 0:
            raise ValueError(f"threshold={threshold}; accepted: numbers of at least 0")
        shape = image_shape(images)
        self.check_shape(shape)
        frame = self._frame(shape)
        if lines is not None:
            if lines.shape != shape[1:]:
                raise ValueError(f"lines of shape {tuple(lines.shape)}; accepted: the shape of the images, {shape[1:]}")
            frame = frame.with_flows_along(lines)
        price = Price()
        if lines is None and self.count == "parameters":
            price = Price(parameter=self.price)
        elif lines is None and noisy:
            price = Price(bit=self.price)
        with torch.no_grad():
            coefficients = frame.forward(images).flatten(2).flatten(0, 1)
            if threshold == 0:
                # All costs are 0, and every choice keeps all coefficients.
                coefficients, threshold = torch.zeros_like(coefficients), 1.0
            choices = best_choices(coefficients, frame.squares, frame.flows, frame.moments, threshold, price)
        return AdaptedBandlet(self, frame, shape, choices)

    def geometry(self, image: Tensor, threshold: float, noisy: bool = False, channel: int = 0) -> Geometry:
        """Return the squares and directions of a channel of an image, shape (C, H, W)."""
        return self.adapt(image[None], threshold, noisy).geometry(channel=channel)

    def analysis(self, images: Tensor) -> Tensor:
        """Raise ``BasisError``, since the basis must be adapted to images first."""
        raise BasisError("bandlet has no geometry yet: call adapt(images, threshold), and use its result")

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Raise ``BasisError``, since the basis must be adapted to images first."""
        return self.analysis(coefficients)

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviations under unit white noise: 1, or a value per coefficient if images are padded."""
        return self._frame(shape).deviations

    def bands(self, shape: Shape) -> Tensor:
        """Return the labels of the wavelet coefficients, shape (H, W) after padding; 1 without a wavelet."""
        return self._frame(shape).bands

    def _frame(self, shape: Shape) -> Frame:
        return build_frame(self._settings, shape[-2], shape[-1])


class Adapted(Basis):
    """Base class of adapted bases with the labels and noise levels of the basis before adaptation."""

    _plain: Basis

    def is_orthonormal(self, shape: Shape) -> bool:
        """Return whether images (C, H, W) need no padding."""
        return self._plain.is_orthonormal(shape)

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviations under white noise, as before adaptation."""
        return self._plain.noise_levels(shape)

    def bands(self, shape: Shape) -> Tensor:
        """Return the labels of the wavelet coefficients, as before adaptation."""
        return self._plain.bands(shape)


class AdaptedBandlet(Adapted):
    """The bandlets of N images; the bandlets of a single image transform any number of images."""

    def __init__(self, plain: Bandlet, frame: Frame, shape: Shape, choices: Sequence[Choice]) -> None:
        self._plain = plain
        self._frame = frame
        self._shape = shape
        self._choices = choices
        self._count = len(choices[0].is_leaf) // shape[0] if choices else None

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W), or larger if images are padded."""
        self._check(images, self._shape)
        return self._transform(self._frame.forward(images), inverse=False)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        self._check(coefficients, (self._shape[0], *self._frame.padded))
        return self._frame.backward(self._transform(coefficients, inverse=True))

    def geometry(self, image: int = 0, channel: int = 0) -> Geometry:
        """Return the squares and directions of a channel of an image to which the basis is adapted."""
        if any(flows.fixed_orders is not None for flows in self._frame.flows):
            raise BasisError("bandlets along given lines have no directions")
        row = image * self._shape[0] + channel
        result = []
        for squares, flows, choice in zip(self._frame.squares, self._frame.flows, self._choices, strict=True):
            leaves = choice.is_leaf[row].nonzero().flatten().cpu()
            has_flow, leaf_flows = choice.has_flow[row].cpu()[leaves].tolist(), choice.flows[row].cpu()[leaves].tolist()
            for (top, left), has_own_flow, (direction, bend, twist) in zip(
                squares.corners[leaves].tolist(), has_flow, leaf_flows, strict=True
            ):
                angle = flows.angles[direction] if has_own_flow else None
                curve = (bend / 2, twist / 2) if has_own_flow else (0.0, 0.0)
                result.append(self._frame.square(top, left, squares.side, angle, curve))
        return Geometry(tuple(sorted(result, key=lambda square: (square.band, -square.side, square.top, square.left))))

    def num_parameters(self) -> Tensor:
        """Return the number of parameters of the flows of each image, float64, shape (N,), or (1,) for any image."""
        counts = torch.zeros(self._count or 1, self._shape[0], dtype=torch.float64)
        for choice in self._choices:
            numbers = parameters(choice.flows) * (choice.is_leaf & choice.has_flow)
            counts += numbers.sum(dim=1).reshape(counts.shape).cpu()
        return counts.sum(dim=1)

    def _transform(self, coefficients: Tensor, inverse: bool) -> Tensor:
        """Transform the squares that have a flow, or invert the transform."""
        values = coefficients.flatten()
        result = values.clone()
        pixels = coefficients.shape[-2] * coefficients.shape[-1]
        copies = 1 if self._count == len(coefficients) else len(coefficients)
        for squares, flows, choice in zip(self._frame.squares, self._frame.flows, self._choices, strict=True):
            has_flow = (choice.is_leaf & choice.has_flow).repeat(copies, 1).flatten()
            candidates = candidate_indices(has_flow)
            for batch in torch.split(candidates, max(1, BATCH_VALUES // squares.side**2)):
                if len(batch) == 0:
                    break
                rows, numbers = batch.div(len(squares), rounding_mode="floor"), batch % len(squares)
                batch_flows = choice.flows[rows % len(choice.flows), numbers]
                indices = squares.samples.to(values.device)[numbers] + (rows * pixels)[:, None]
                ordered = indices.gather(1, flows.orders(batch_flows))
                source, target = (indices, ordered) if inverse else (ordered, indices)
                transform = inverse_alpert if inverse else alpert
                transformed = transform(values[source], self._frame.moments)
                if len(candidates) == len(has_flow):
                    transformed = torch.where(has_flow[batch, None], transformed, result[target])
                result[target] = transformed
        return result.reshape(coefficients.shape)

    def _check(self, values: Tensor, shape: tuple[int, ...]) -> None:
        is_count_valid = self._count in (1, None, len(values))
        if not is_count_valid or values.shape[1:] != shape:
            number = "any number of arrays" if self._count in (1, None) else f"{self._count} arrays"
            raise ValueError(
                f"bandlet adapted to other images; accepted: {number} of shape {shape}, not {tuple(values.shape)}"
            )
