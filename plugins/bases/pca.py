"""Principal components of the training images."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, BasisError, Shape, TrainingData

from ._matrices import Matrices, check_values, completed, octaves

#: Images summed at a time.
CHUNK = 1024


class PCA(Basis):
    """Eigenvectors of the second moments of training images, largest first (Karhunen-Loeve basis).

    The moments are about zero, not about the mean image: a basis transforms images as they are, and so, of all
    orthonormal bases, the first M vectors of this one leave the least squared error of the training images, for every
    M. The first is nearly the mean image. All channels are transformed together, and the coefficients laid out as the
    images are. Fewer images than values span a subspace; the vectors after it are any that complete the basis.

    Parameters
    ----------
    images
        Most training images to learn from.
    """

    def __init__(self, images: Annotated[int, Field(ge=1)] = 4096) -> None:
        self.images = images
        self._shape: Shape | None = None
        self._basis: Matrices | None = None
        self._count = 0

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) of more than 4096 values, whose moments are too large."""
        check_values(shape, "pca needs the second moments")

    def fit(self, examples: TrainingData) -> None:
        """Find the eigenvectors; on one core it takes 17 s for 4096 values, 0.4 s for 1024."""
        self.check_shape(examples.shape)
        self._shape = examples.shape
        images = examples.training(self.images)
        self._count = len(images)
        self._basis = Matrices(eigenvectors(images.flatten(1))[None])

    def notes(self, shape: Shape) -> tuple[str, ...]:
        """Say from how many images it was learned."""
        return (f"basis learned from {self._count} training images",) if self._count else ()

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W)."""
        return self._fitted(images).analysis(images)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        return self._fitted(coefficients).synthesis(coefficients)

    def bands(self, shape: Shape) -> Tensor:
        """Return labels of shape (C, H, W): 0 the first vector, then 3, 12, 48, ... of a label."""
        return octaves(math.prod(shape)).reshape(shape)

    def _fitted(self, images: Tensor) -> Matrices:
        if self._basis is None or self._shape is None:
            raise BasisError("pca is learned from training images: call fit(examples) first")
        if images.shape[1:] != self._shape:
            raise BasisError(f"pca was fitted to images of shape {self._shape}, not {tuple(images.shape[1:])}")
        return self._basis


def eigenvectors(images: Tensor) -> Tensor:
    """Return the eigenvectors of the second moments of images (n, d) as columns, largest first, (d, d), float64."""
    count, size = images.shape
    vectors: Tensor
    if count < size:
        vectors = torch.linalg.svd(images.double(), full_matrices=False)[2].mT
        return completed(vectors)
    moments = torch.zeros(size, size, dtype=torch.float64)
    for some in torch.split(images, CHUNK):
        moments += some.double().mT @ some.double()
    vectors = torch.linalg.eigh(moments / count).eigenvectors
    return vectors.flip(1)
