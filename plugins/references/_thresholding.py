"""Base of practical references that shrink coefficients: they use only the noisy images."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from gahbench import Basis, Shape, Truth, image_shape

from .._messages import name_of
from ._shrinkage import Shrinkage

#: The threshold that adaptive bases are adapted for where there is no single one, in units of the noise.
USUAL = 3.0


class Thresholding(Shrinkage):
    """A practical reference that shrinks the details in a basis: every band but 0, the coarse scale."""

    def __init__(self, basis: Basis) -> None:
        super().__init__(basis)
        if self.basis.oracle:
            raise ValueError(
                f"basis '{name_of(basis)}' is for oracles only; "
                "accepted: bases made from the noisy image, from training images or from none"
            )

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); without noise, the images as they are."""
        if sigma == 0:
            return noisy
        if not self.basis.adaptive:
            return self._denoise(self.basis, noisy, sigma)
        shape = image_shape(noisy)
        threshold = self._adapted_for(shape, sigma) * sigma
        batches = torch.split(noisy, self.basis.max_batch(shape) or len(noisy))
        adapted = (self.basis.adapt(batch, threshold, noisy=True) for batch in batches)
        return torch.cat([self._denoise(basis, batch, sigma) for basis, batch in zip(adapted, batches, strict=True)])

    @abstractmethod
    def shrink(self, coefficients: Tensor, labels: Tensor, sigma: float) -> Tensor:
        """Return the coefficients without their noise."""

    def _adapted_for(self, shape: Shape, sigma: float) -> float:
        """Return what threshold an adaptive basis is adapted for, in units of the noise."""
        return USUAL

    def _denoise(self, basis: Basis, noisy: Tensor, sigma: float) -> Tensor:
        shape = image_shape(noisy)
        coefficients = basis.analysis(noisy)
        labels = basis.bands(shape).expand(coefficients.shape[1:])
        levels = basis.noise_levels(shape).to(coefficients)
        # A coefficient that has no noise, as of an empty atom, is always 0.
        levels = torch.where(levels > 0, levels, 1)
        shrunk = self.shrink(coefficients / levels, labels, sigma) * levels
        return basis.synthesis(torch.where((labels == 0).to(noisy.device), coefficients, shrunk))
