"""Adaptive soft thresholding, the classic that needs no clean image."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from gahbench.contracts import Shape, Truth
from gahbench.parameters import Names

from .shrinkage import Shrinkage


class BayesShrink(Shrinkage):
    """BayesShrink: soft thresholding with a threshold of its own for each subband.

    The threshold is T = sigma^2 / sigma_x with sigma_x^2 = max(mean(c^2) - sigma^2, 0) over the noisy
    coefficients c of the subband, nearly optimal for Laplacian coefficients (Chang, Yu & Vetterli 2000); a
    subband with sigma_x = 0 is killed. The coarse scale (band 0) is left alone. Every channel has thresholds
    of its own.

    Parameters
    ----------
    basis
        An orthonormal basis.
    """

    def __init__(self, basis: Annotated[str, Names("basis")] = "sym4") -> None:
        super().__init__(basis)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        coefficients = self.basis.analysis(noisy)
        _, channels, height, width = noisy.shape
        thresholds = self._thresholds(coefficients, sigma, (channels, height, width))
        shrunk = coefficients.sign() * (coefficients.abs() - thresholds).clamp(min=0)
        return self.basis.synthesis(shrunk)

    def _thresholds(self, coefficients: Tensor, sigma: float, shape: Shape) -> Tensor:
        """Return the threshold of every coefficient, in the shape of the coefficients."""
        labels = self.basis.bands(shape).to(coefficients.device).expand(coefficients.shape).flatten(2)
        energy = coefficients.square().flatten(2)
        sums = energy.new_zeros(*energy.shape[:2], int(labels.max()) + 1)
        counts = sums.scatter_add(2, labels, energy.new_ones(()).expand_as(energy))
        power = sums.scatter_add(2, labels, energy) / counts.clamp(min=1)
        # Where the signal's variance is 0 the division gives an infinite threshold, which kills the subband.
        thresholds = sigma**2 / (power - sigma**2).clamp(min=0).sqrt()
        thresholds[..., 0] = 0
        if sigma == 0:
            thresholds.zero_()
        return thresholds.gather(2, labels).reshape(coefficients.shape)
