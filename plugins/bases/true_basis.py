"""The basis in which the best denoiser of a family shrinks."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from gahbench import Basis, BasisError, Dataset, Shape, Split, Truth
from gahbench_plugins.bases.matrices import Matrices, check_values, complete, max_matrices


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
        dataset = truth.dataset
        if dataset is None:
            raise BasisError("the true basis needs a gahbench.Truth that names its 'dataset'")
        if not dataset.has_true_basis:
            raise BasisError(f"{type(dataset).__name__} does not provide the basis in which its best denoiser shrinks")
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
