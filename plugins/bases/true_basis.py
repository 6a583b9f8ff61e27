"""The basis in which the best denoiser of a family shrinks."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from gahbench import Basis, BasisError, Dataset, Shape, Split, Truth

from ._matrices import Matrices, check_values, complete, max_matrices


class FromTruth(Basis):
    """Base class of bases that depend on facts about images that only oracles know."""

    adaptive: ClassVar[bool] = True
    oracle: ClassVar[bool] = True
    #: Name of the basis, and of the facts on which it depends, in errors.
    description: ClassVar[str]
    depends_on: ClassVar[str]

    def adapt(self, images: Tensor, threshold: float, noisy: bool = False) -> Basis:
        """Raise ``BasisError``, since the images do not determine the basis."""
        raise BasisError(
            f"{self.description} depends on {self.depends_on}, which only an oracle has: call adapt_to(truth, "
            "threshold), with a gahbench.Truth that names its 'dataset'"
        )

    def dataset_of(self, truth: Truth) -> Dataset:
        """Return the dataset of a truth."""
        if truth.dataset is None:
            raise BasisError(f"{self.description} needs a dataset; pass a gahbench.Truth that names its 'dataset'")
        return truth.dataset

    def analysis(self, images: Tensor) -> Tensor:
        """Raise ``BasisError``, since the basis must be adapted to a truth first."""
        return self.adapt(images, 0.0).analysis(images)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Raise ``BasisError``, since the basis must be adapted to a truth first."""
        return self.adapt(coefficients, 0.0).synthesis(coefficients)


class FamilyBasis(FromTruth):
    """The basis in which the best denoiser of the dataset shrinks, for oracles on datasets that provide it.

    On Gaussian families it consists of the eigenvectors of the covariance, the same for all images. On ``c-alpha`` it
    consists of the eigenvectors of an image's covariance given its contour, the true geometry-adaptive harmonic basis.
    Vectors are sorted by descending energy. All channels are transformed jointly. If a dataset omits vectors of
    negligible energy, arbitrary vectors complete the basis.
    """

    display_name = "true basis"
    description = "the true basis"
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
        """Return the number of images (C, H, W) whose bases fit into 1 GiB, at least 1."""
        return max_matrices(math.prod(shape))

    def adapt_to(self, truth: Truth, threshold: float) -> Basis:
        """Return the basis of each image of the truth's dataset; the threshold has no influence."""
        dataset = self.dataset_of(truth)
        if not dataset.has_true_basis:
            raise BasisError(f"{type(dataset).__name__} does not provide the basis in which its best denoiser shrinks")
        self.check_shape(dataset.shape)
        key = (dataset, truth.split, len(truth), truth.start)
        if self._last is not None and self._last[:4] == key:
            return self._last[4]
        # Free the memory before the next basis is computed.
        self._last = None
        basis = dataset.true_basis(truth.split, len(truth), truth.start)
        if basis is None:
            raise BasisError(f"{type(dataset).__name__}.true_basis returned None, although 'has_true_basis' is true")
        matrices = Matrices(complete(basis.vectors))
        self._last = (*key, matrices)
        return matrices
