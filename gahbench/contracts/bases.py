"""Bases: analysis and synthesis of a batch of images."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from gahbench._util.shapes import Shape, image_shape
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.preparation import Preparable
from gahbench.contracts.truth import Truth

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.contracts.truth import TrainingData
    from gahbench.jacobian import FilterFamily

#: Number of values that oracles and figures process at once: a batch that fits the processor's cache is 3 times faster.
BATCH_VALUES = 1 << 18


class Basis(Preparable, ABC):
    """Analysis and synthesis of a batch of images.

    A basis may be fixed, fitted to the training images of a dataset (:meth:`fit`), or adapted to images
    (:meth:`adapt`), which gives each image of a batch its own basis.

    Examples
    --------
    >>> import gahbench
    >>> import torch
    >>> class Mirror(gahbench.Basis):
    ...     # Pixels from right to left.
    ...     def analysis(self, images):
    ...         return images.flip(-1)
    ...     def synthesis(self, coefficients):
    ...         return coefficients.flip(-1)
    >>> images = torch.rand(2, 1, 8, 8)
    >>> torch.equal(Mirror().synthesis(Mirror().analysis(images)), images)
    True
    """

    #: Whether analysis is an orthonormal change of basis, so that coefficients of white noise are white noise.
    orthonormal: bool = True
    #: Whether every image has its own basis, so that the result of :meth:`adapt` must be used instead of this basis.
    adaptive: ClassVar[bool] = False
    #: Whether the basis depends on the clean image, so that only oracles can use it.
    oracle: ClassVar[bool] = False

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError``, naming accepted shapes, for images (C, H, W) that the basis cannot analyse."""

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the basis is defined on a dataset."""
        return True

    def is_orthonormal(self, shape: Shape) -> bool:
        """Return whether the basis is orthonormal on images (C, H, W)."""
        return self.orthonormal

    def max_batch(self, shape: Shape) -> int | None:
        """Return the maximum number of images (C, H, W) to adapt to at once, to limit memory; ``None`` for no limit."""
        return None

    def notes(self, shape: Shape) -> tuple[str, ...]:
        """Return notes that the board shows on rows with this basis, for images (C, H, W)."""
        return ()

    def fit(self, examples: TrainingData) -> None:
        """Learn from the training images of a dataset; by default, do nothing."""

    def adapt(self, images: Tensor, threshold: float, noisy: bool = False) -> Basis:
        """Return the basis adapted to each of the images; by default, return the basis itself.

        Parameters
        ----------
        images
            Shape (N, C, H, W). The result analyses N images, each in the basis adapted to the image at its index.
        threshold
            The absolute value below which coefficients will be set to 0: a best basis minimises the sum of
            min(c^2, threshold^2).
        noisy
            Whether the images are noisy, so that a choice among many bases fits the noise and must be penalised.
        """
        return self

    def parts(self, truth: Truth) -> Iterator[Truth]:
        """Yield the truth in batches, each of which the basis can be adapted to at once."""
        shape = image_shape(truth.clean)
        return truth.batches(self.max_batch(shape) or max(1, BATCH_VALUES // math.prod(shape)))

    def adapt_to(self, truth: Truth, threshold: float) -> Basis:
        """Return the basis that an oracle uses; by default, adapt it to the clean images."""
        return self.adapt(truth.clean, threshold)

    def check_filters(self, shape: Shape) -> None:
        """Raise ``ValueError``, naming accepted shapes, for images (C, H, W) on which :meth:`filters` fails."""
        self.check_shape(shape)

    def filters(self, truth: Truth, sigma: float) -> FilterFamily:
        """Return the linear denoisers of each image that shrink in this basis, at any strength.

        By default these are the filters of an oracle, with weights c_k^2 / (c_k^2 + nu^2 level_k^2), where
        c_k are the clean coefficients and level_k the noise levels (Kadkhodaie 2024, equation 12), and nu is chosen to
        give the requested trace. A basis may override this method.

        Parameters
        ----------
        truth
            The truth of the images.
        sigma
            Standard deviation of the noise, greater than 0.
        """
        from gahbench.jacobian.shrinkage import oracle_filters

        return oracle_filters(self, truth, sigma)

    @abstractmethod
    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients of images (N, C, H, W): shape (N, C, ...), and (N, C, H, W) if orthonormal."""

    @abstractmethod
    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images (N, C, H, W) whose analysis returns these coefficients."""

    def atoms(self, shape: Shape) -> Tensor | None:
        """Return the matrices of the analysis, if the basis is orthonormal and holds them.

        Returns
        -------
        Tensor or None
            Shape (N, d, d) for a basis adapted to N images (C, H, W) of d values, or (1, d, d) if all images share it.
            The product with a flattened image gives its flattened coefficients. ``None`` if the basis does not hold
            matrices.
        """
        return None

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviation of each coefficient of white noise whose standard deviation is 1.

        Returns
        -------
        Tensor
            Float64, broadcastable to the coefficients (C, ...) of an image, or to the coefficients (N, C, ...) of the
            images that a basis is adapted to; by default 1, as in any orthonormal basis.
        """
        import torch

        return torch.ones((), dtype=torch.float64)

    def bands(self, shape: Shape) -> Tensor:
        """Return an integer label for each coefficient, broadcastable to the coefficients of an image.

        Coefficients with the same label share their statistics; label 0 is the coarse scale, which practical
        thresholding does not change. The default is a single band, labelled 1.
        """
        import torch

        return torch.ones(shape[1:], dtype=torch.long)
