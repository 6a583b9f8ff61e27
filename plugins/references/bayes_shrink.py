"""Adaptive soft thresholding, the classic that needs no clean image."""

from __future__ import annotations

from torch import Tensor

from .._papers import CHANG_2000
from ._shrinkage import Thresholding, soft


class BayesShrink(Thresholding):
    """BayesShrink: soft thresholding with a threshold of its own for each subband.

    The threshold is T = sigma^2 / sigma_x with sigma_x^2 = max(mean(c^2) - sigma^2, 0) over the noisy
    coefficients c of the subband, nearly optimal for Laplacian coefficients (Chang, Yu & Vetterli 2000); a
    subband with sigma_x = 0 is killed. The coarse scale (band 0) is left alone. Every channel has thresholds
    of its own.

    Parameters
    ----------
    basis
        Any basis but those for oracles only. In a frame or a biorthogonal basis coefficients are divided
        by their noise levels first, a heuristic, since their noise is not independent. An adaptive basis is adapted
        to the noisy image for a threshold of 3 sigma, and has then fitted some of the noise.
    """

    citation = CHANG_2000

    def shrink(self, coefficients: Tensor, labels: Tensor, sigma: float) -> Tensor:
        """Return the thresholded coefficients, shape (N, C, ...)."""
        bands = labels.to(coefficients.device).expand(coefficients.shape).flatten(2)
        energy = coefficients.square().flatten(2)
        sums = energy.new_zeros(*energy.shape[:2], int(labels.max()) + 1)
        counts = sums.scatter_add(2, bands, energy.new_ones(()).expand_as(energy))
        power = sums.scatter_add(2, bands, energy) / counts.clamp(min=1)
        # Where the signal's variance is 0 the division gives an infinite threshold, which kills the subband.
        thresholds = sigma**2 / (power - sigma**2).clamp(min=0).sqrt()
        return soft(coefficients, thresholds.gather(2, bands).reshape(coefficients.shape))
