"""Bandlets along known contours."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from gahbench import BasisError, Dataset, Truth
from gahbench_plugins.bases.bandlet import Bandlet
from gahbench_plugins.bases.wavelet import Levels


class TrueFlow(Bandlet):
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
    oracle: ClassVar[bool] = True

    def __init__(
        self,
        wavelet: str | None = "sym5",
        levels: Levels = None,
        smallest: Annotated[int, Field(ge=2)] = 4,
        largest: Annotated[int, Field(ge=2)] | None = None,
        moments: Annotated[int, Field(ge=1, le=8)] = 2,
    ) -> None:
        super().__init__(wavelet, levels, smallest, largest, "fine", moments)

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the contours of the dataset are known."""
        return dataset.has_level_sets

    def adapt(self, images: Tensor, threshold: float, noisy: bool = False, lines: Tensor | None = None) -> Bandlet:
        """Return bandlets along given lines; raise ``BasisError`` without, since the images do not determine them."""
        if lines is None:
            raise BasisError("only an oracle knows the true flow: call adapt_to(truth, threshold)")
        return super().adapt(images, threshold, noisy, lines)

    def adapt_to(self, truth: Truth, threshold: float) -> Bandlet:
        """Return the bandlets of each image along its contour."""
        dataset = truth.dataset
        if dataset is None:
            raise BasisError("the true flow needs a gahbench.Truth that names its 'dataset'")
        if not dataset.has_level_sets:
            raise BasisError(f"{type(dataset).__name__} does not provide the contours of its images")
        lines = dataset.level_sets(truth.split, len(truth), truth.start)
        if lines is None:
            raise BasisError(f"{type(dataset).__name__}.level_sets returned None, although it announces contours")
        return self.adapt(truth.clean, threshold, lines=lines)
