"""Bandlets that are given the contours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, BasisError, Dataset, Shape, Truth

from .._papers import PEYRE_2008
from .bandlet import Bandlet


class TrueFlow(Basis):
    """Bandlets along the known contours of the dataset: for oracles, on ``c-alpha``.

    As ``bandlet``, but flows are not searched for: in every square they follow the level lines of a function that is
    zero on the contour, which the dataset gives, or the square is left as it is. The squares are those of the least sum
    of min(c^2, T^2), T the threshold; geometry costs nothing. It shows what squares up to ``largest`` cost, whatever
    flows they have, and what is lost by searching.

    Parameters
    ----------
    wavelet
        The wavelet underneath; ``null`` for none: then the pixels themselves are cut into squares.
    levels
        How often the sides are halved; by default as ``bandlet`` does.
    smallest, largest
        Sides of the smallest and the largest squares, in samples: powers of 2; ``null`` for squares up to the whole
        subband, without which bandlets have the rate of wavelets whatever they follow.
    moments
        Vanishing moments of the Alpert transform, at most ``smallest``^2; 1 is Haar.

    Raises
    ------
    ValueError
        As ``bandlet`` does.
    """

    citation = PEYRE_2008
    adaptive: ClassVar[bool] = True
    oracle: ClassVar[bool] = True
    label_parameters = ("wavelet",)

    def __init__(
        self,
        wavelet: str | None = "sym5",
        levels: Annotated[int, Field(ge=1)] | None = None,
        smallest: Annotated[int, Field(ge=2)] = 4,
        largest: Annotated[int, Field(ge=2)] | None = None,
        moments: Annotated[int, Field(ge=1, le=8)] = 2,
    ) -> None:
        self._bandlet = Bandlet(wavelet, levels, smallest, largest, directions="fine", moments=moments)

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) with sides too short for ``levels``."""
        self._bandlet.check_shape(shape)

    def check_filters(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that are padded: filters that shrink there are not symmetric."""
        self._bandlet.check_filters(shape)

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the contours of the dataset are known."""
        return dataset.has_level_sets

    def is_orthonormal(self, shape: Shape) -> bool:
        """Return whether images (C, H, W) need no padding."""
        return self._bandlet.is_orthonormal(shape)

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviations under white noise, as of ``bandlet``."""
        return self._bandlet.noise_levels(shape)

    def bands(self, shape: Shape) -> Tensor:
        """Return the labels of the wavelet, as of ``bandlet``."""
        return self._bandlet.bands(shape)

    def adapt(self, images: Tensor, threshold: float, noisy: bool = False) -> Basis:
        """Raise ``BasisError``: the contours are no part of the images."""
        raise BasisError(
            "the true flow depends on the contours, which only an oracle has: call adapt_to(truth, threshold), with a "
            "gahbench.Truth that names its 'dataset'"
        )

    def adapt_to(self, truth: Truth, threshold: float) -> Basis:
        """Return the bandlets of each image along its contour."""
        dataset = truth.dataset
        if dataset is None:
            raise BasisError("the true flow is that of a dataset; pass a gahbench.Truth that names its 'dataset'")
        if not dataset.has_level_sets:
            raise BasisError(f"{type(dataset).__name__} does not give the contours of its images")
        found = dataset.level_sets(truth.split, len(truth), truth.start)
        if found is None:
            raise BasisError(f"{type(dataset).__name__}.level_sets returned none, though 'has_level_sets' is true")
        return OneByOne(
            self._bandlet,
            [
                self._bandlet.adapt(truth.clean[place : place + 1], threshold, lines=lines)
                for place, lines in enumerate(found)
            ],
        )

    def analysis(self, images: Tensor) -> Tensor:
        """Raise ``BasisError``: it is adapted to a truth first."""
        return self.adapt(images, 0.0).analysis(images)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Raise ``BasisError``: it is adapted to a truth first."""
        return self.adapt(coefficients, 0.0).synthesis(coefficients)


class OneByOne(Basis):
    """The bases of N images, each for one of them, or for any number if it is one."""

    def __init__(self, plain: Basis, bases: Sequence[Basis]) -> None:
        self._plain = plain
        self._bases = bases

    def is_orthonormal(self, shape: Shape) -> bool:
        """Return whether it is orthonormal, as before adaptation."""
        return self._plain.is_orthonormal(shape)

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviations under white noise, as before adaptation."""
        return self._plain.noise_levels(shape)

    def bands(self, shape: Shape) -> Tensor:
        """Return the labels of coefficients, as before adaptation."""
        return self._plain.bands(shape)

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients of N images."""
        if len(self._bases) == 1:
            return self._bases[0].analysis(images)
        return torch.cat([basis.analysis(one) for basis, one in self._pairs(images)])

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the N images."""
        if len(self._bases) == 1:
            return self._bases[0].synthesis(coefficients)
        return torch.cat([basis.synthesis(one) for basis, one in self._pairs(coefficients)])

    def _pairs(self, given: Tensor) -> Sequence[tuple[Basis, Tensor]]:
        if len(given) != len(self._bases):
            raise ValueError(f"adapted to other images: it takes {len(self._bases)}, not {len(given)}")
        return list(zip(self._bases, torch.split(given, 1), strict=True))
