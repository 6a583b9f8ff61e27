"""Bandlets along known contours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, BasisError, Dataset, Shape, Truth

from .._papers import PEYRE_2008
from .bandlet import Adapted, Bandlet
from .true_basis import FromTruth


class TrueFlow(FromTruth, Adapted):
    """Bandlets along the known contours of the dataset, for oracles on datasets such as ``c-alpha``.

    In contrast to ``bandlet``, there is no search for flows: a square has no flow, or its flow follows the level lines
    of a function of the dataset that is zero on the contour. The squares minimise the sum of min(c^2, T^2), with T the
    threshold, and the geometry has no price. Comparisons with this basis show the cost of limiting squares to
    ``largest`` even with true flows, and the loss due to the search for flows.

    Parameters
    ----------
    wavelet
        Name of the orthonormal wavelet; ``null`` to divide the pixels into squares, without a wavelet.
    levels
        Number of times that the sides are halved; by default as in ``bandlet``.
    smallest
        Side of the smallest squares, in samples: a power of 2.
    largest
        Side of the largest squares, in samples: a power of 2. By default (``null``), squares may have the size of the
        subband; with a limit, bandlets have the rate of wavelets for every choice of flows.
    moments
        Number of vanishing moments of the Alpert transform, at most ``smallest``^2; 1 is the Haar transform.

    Raises
    ------
    ValueError
        If ``bandlet`` does not accept these parameters.
    """

    display_name = "bandlets along true contours"
    citation = PEYRE_2008
    description = "the true flow"
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
        """Raise ``ValueError`` for images (C, H, W) that are padded: shrinkage filters are then not symmetric."""
        self._plain.check_filters(shape)

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the contours of the dataset are known."""
        return dataset.has_level_sets

    def adapt_to(self, truth: Truth, threshold: float) -> Basis:
        """Return the bandlets of each image along its contour."""
        dataset = self.dataset_of(truth)
        if not dataset.has_level_sets:
            raise BasisError(f"{type(dataset).__name__} does not provide the contours of its images")
        levels = dataset.level_sets(truth.split, len(truth), truth.start)
        if levels is None:
            raise BasisError(f"{type(dataset).__name__}.level_sets returned None, although 'has_level_sets' is true")
        return BasisPerImage(
            self._plain,
            [
                self._plain.adapt(truth.clean[index : index + 1], threshold, lines=lines)
                for index, lines in enumerate(levels)
            ],
        )


class BasisPerImage(Adapted):
    """A separate basis for each of N images; a single basis transforms any number of images."""

    def __init__(self, plain: Basis, bases: Sequence[Basis]) -> None:
        self._plain = plain
        self._bases = bases

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients of N images."""
        return self._each(images, lambda basis, image: basis.analysis(image))

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the N images."""
        return self._each(coefficients, lambda basis, image: basis.synthesis(image))

    def _each(self, values: Tensor, transform: Callable[[Basis, Tensor], Tensor]) -> Tensor:
        if len(self._bases) == 1:
            return transform(self._bases[0], values)
        if len(values) != len(self._bases):
            raise ValueError(f"adapted to other images; accepted: {len(self._bases)} images, not {len(values)}")
        return torch.cat(list(map(transform, self._bases, torch.split(values, 1))))
