"""A family's own basis."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from gahbench import Basis, BasisError, Dataset, Shape, Split, Truth

from ._matrices import Matrices, check_values, completed, max_matrices


class FromTruth(Basis):
    """Base of bases that follow from what only oracles know of images."""

    adaptive: ClassVar[bool] = True
    oracle: ClassVar[bool] = True
    #: Name of the basis, and of the facts that it depends on, in errors.
    of: ClassVar[str]
    depends_on: ClassVar[str]

    def adapt(self, images: Tensor, threshold: float, noisy: bool = False) -> Basis:
        """Raise ``BasisError``: it does not follow from the images."""
        raise BasisError(
            f"{self.of} depends on {self.depends_on}, which only an oracle has: call adapt_to(truth, threshold), with "
            "a gahbench.Truth that names its 'dataset'"
        )

    def dataset_of(self, truth: Truth) -> Dataset:
        """Return the dataset of a truth."""
        if truth.dataset is None:
            raise BasisError(f"{self.of} is that of a dataset; pass a gahbench.Truth that names its 'dataset'")
        return truth.dataset

    def analysis(self, images: Tensor) -> Tensor:
        """Raise ``BasisError``: it is adapted to a truth first."""
        return self.adapt(images, 0.0).analysis(images)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Raise ``BasisError``: it is adapted to a truth first."""
        return self.adapt(coefficients, 0.0).synthesis(coefficients)


class FamilyBasis(FromTruth):
    """The basis in which the best denoiser of the dataset shrinks: for oracles, where a formula is known.

    On Gaussian families it is the eigenvectors of the covariance, the same for all images; on ``c-alpha`` the
    eigenvectors of an image's covariance given its contour, the true geometry-adaptive harmonic basis. Most energy
    comes first. All channels are transformed together. Where a dataset leaves out vectors of hardly any energy, any
    that complete the basis take their place.
    """

    of = "the true basis"
    depends_on = "the parameters of the images"

    def __init__(self) -> None:
        self._last: tuple[Dataset, Split, int, int, Matrices] | None = None

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) of more than 4096 values."""
        check_values(shape, "the true basis is a matrix")

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the dataset provides the basis in which its best denoiser shrinks."""
        return dataset.has_true_basis

    def max_batch(self, shape: Shape) -> int:
        """Return how many images (C, H, W) have bases of 1 GiB together, at least 1."""
        return max_matrices(math.prod(shape))

    def adapt_to(self, truth: Truth, threshold: float) -> Basis:
        """Return the basis of each image of the truth's dataset; the threshold plays no part."""
        dataset = self.dataset_of(truth)
        if not dataset.has_true_basis:
            raise BasisError(f"{type(dataset).__name__} does not provide the basis in which its best denoiser shrinks")
        self.check_shape(dataset.shape)
        asked = (dataset, truth.split, len(truth), truth.start)
        if self._last is not None and self._last[:4] == asked:
            return self._last[4]
        # Not held while others are computed, as it may be large.
        self._last = None
        known = dataset.true_basis(truth.split, len(truth), truth.start)
        if known is None:
            raise BasisError(f"{type(dataset).__name__}.true_basis returned none, though 'has_true_basis' is true")
        matrices = Matrices(completed(known.vectors))
        self._last = (*asked, matrices)
        return matrices
