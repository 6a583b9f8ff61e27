"""Bandlets that are given the contours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, BasisError, Dataset, Shape, Truth

from .._papers import PEYRE_2008
from .bandlet import AsBefore, Bandlet
from .true_basis import FromTruth


class TrueFlow(FromTruth, AsBefore):
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
    of = "the true flow"
    depends_on = "the contours"
    label_parameters = ("wavelet",)

    def __init__(
        self,
        wavelet: str | None = "sym5",
        levels: Annotated[int, Field(ge=1)] | None = None,
        smallest: Annotated[int, Field(ge=2)] = 4,
        largest: Annotated[int, Field(ge=2)] | None = None,
        moments: Annotated[int, Field(ge=1, le=8)] = 2,
    ) -> None:
        self._plain: Bandlet = Bandlet(wavelet, levels, smallest, largest, directions="fine", moments=moments)

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) with sides too short for ``levels``."""
        self._plain.check_shape(shape)

    def check_filters(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that are padded: filters that shrink there are not symmetric."""
        self._plain.check_filters(shape)

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the contours of the dataset are known."""
        return dataset.has_level_sets

    def adapt_to(self, truth: Truth, threshold: float) -> Basis:
        """Return the bandlets of each image along its contour."""
        dataset = self.dataset_of(truth)
        if not dataset.has_level_sets:
            raise BasisError(f"{type(dataset).__name__} does not give the contours of its images")
        levels = dataset.level_sets(truth.split, len(truth), truth.start)
        if levels is None:
            raise BasisError(f"{type(dataset).__name__}.level_sets returned none, though 'has_level_sets' is true")
        return OneByOne(
            self._plain,
            [
                self._plain.adapt(truth.clean[place : place + 1], threshold, lines=lines)
                for place, lines in enumerate(levels)
            ],
        )


class OneByOne(AsBefore):
    """The bases of N images, each for one of them, or for any number if it is one."""

    def __init__(self, plain: Basis, bases: Sequence[Basis]) -> None:
        self._plain = plain
        self._bases = bases

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients of N images."""
        return self._each(images, lambda basis, image: basis.analysis(image))

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the N images."""
        return self._each(coefficients, lambda basis, image: basis.synthesis(image))

    def _each(self, given: Tensor, transform: Callable[[Basis, Tensor], Tensor]) -> Tensor:
        if len(self._bases) == 1:
            return transform(self._bases[0], given)
        if len(given) != len(self._bases):
            raise ValueError(f"adapted to other images: it takes {len(self._bases)}, not {len(given)}")
        return torch.cat(list(map(transform, self._bases, torch.split(given, 1))))
