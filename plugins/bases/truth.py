"""Bases that only an oracle knows: the basis of the best denoiser, and bandlets along known contours."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from gahbench import Basis, BasisError, Dataset, Shape, Split, Truth
from gahbench_plugins.bases.bandlet import Bandlet
from gahbench_plugins.bases.matrices import Matrices, check_values, complete, max_matrices
from gahbench_plugins.bases.wavelet import Levels


class FamilyBasis(Basis):
    """The basis in which the best denoiser of the dataset shrinks, for oracles on datasets that provide it.

    On Gaussian families it consists of the eigenvectors of the covariance, the same for all images. On ``c-alpha`` it
    consists of the eigenvectors of an image's covariance given its contour, the true geometry-adaptive harmonic basis.
    Vectors are sorted by descending energy. All channels are transformed jointly. If a dataset omits vectors of
    negligible energy, arbitrary vectors complete the basis.
    """

    display_name = "true basis"
    adaptive: ClassVar[bool] = True
    oracle: ClassVar[bool] = True

    def __init__(self) -> None:
        self._latest: tuple[Dataset, Split, int, int, Matrices] | None = None

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) of more than 4096 values."""
        check_values(shape, "the true basis is a matrix")

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the dataset provides the basis in which its best denoiser shrinks."""
        return dataset.has_true_basis

    def max_batch(self, shape: Shape) -> int:
        """Return the number of images (C, H, W) whose bases fit into 1 GiB, at least 1."""
        return max_matrices(math.prod(shape))

    def adapt(self, images: Tensor, threshold: float, noisy: bool = False) -> Basis:
        """Raise ``BasisError``, since the images do not determine the basis."""
        raise BasisError("only an oracle knows the true basis: call adapt_to(truth, threshold)")

    def adapt_to(self, truth: Truth, threshold: float) -> Basis:
        """Return the basis of each image of the truth's dataset; the threshold has no influence."""
        dataset = _dataset_of(truth, "true_basis", "the basis in which its best denoiser shrinks")
        self.check_shape(dataset.shape)
        key = (dataset, truth.split, len(truth), truth.start)
        if self._latest is None or self._latest[:4] != key:
            # Free the memory before the next basis is computed.
            self._latest = None
            basis = dataset.true_basis(*key[1:])
            if basis is None:
                raise BasisError(f"{type(dataset).__name__}.true_basis returned None, although it announces one")
            self._latest = (*key, Matrices(complete(basis.vectors)))
        return self._latest[4]

    def analysis(self, images: Tensor) -> Tensor:
        """Raise ``BasisError``, since the basis must be adapted to a truth first."""
        return self.adapt(images, 0.0).analysis(images)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Raise ``BasisError``, since the basis must be adapted to a truth first."""
        return self.adapt(coefficients, 0.0).synthesis(coefficients)


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
        dataset = _dataset_of(truth, "level_sets", "the contours of its images")
        lines = dataset.level_sets(truth.split, len(truth), truth.start)
        if lines is None:
            raise BasisError(f"{type(dataset).__name__}.level_sets returned None, although it announces contours")
        return self.adapt(truth.clean, threshold, lines=lines)


def _dataset_of(truth: Truth, attribute: str, description: str) -> Dataset:
    """Return the dataset of a truth; raise ``BasisError`` without, or if it does not provide what the basis needs."""
    dataset = truth.dataset
    if dataset is None:
        raise BasisError("bases of oracles need a gahbench.Truth that names its 'dataset'")
    if not getattr(dataset, f"has_{attribute}"):
        raise BasisError(f"{type(dataset).__name__} does not provide {description}")
    return dataset
