"""BayesShrink: soft thresholding with a threshold for each subband."""

from __future__ import annotations

from torch import Tensor

from gahbench_plugins.references.shrinkage import Thresholding, soft


class BayesShrink(Thresholding):
    """BayesShrink: soft thresholding with a separate threshold for each subband.

    The threshold is T = sigma^2 / sigma_x with sigma_x^2 = max(mean(c^2) - sigma^2, 0) over the noisy
    coefficients c of the subband, nearly optimal for Laplacian coefficients (Chang, Yu & Vetterli 2000); a
    subband with sigma_x = 0 is set to 0. The coarse scale (band 0) is not thresholded. Each channel has separate
    thresholds.

    Parameters
    ----------
    basis
        Any basis that does not need the clean image. In a frame or a biorthogonal basis, coefficients are first divided
        by their noise levels, which is a heuristic, since the noise of coefficients is not independent. An adaptive
        basis is adapted to the noisy image for a threshold of 3 sigma, so it fits some of the noise.
    """

    display_name = "BayesShrink, {basis}"
    citation = "chang-2000"

    def shrink(self, coefficients: Tensor, labels: Tensor, sigma: float) -> Tensor:
        """Return the thresholded coefficients, shape (N, C, ...)."""
        bands = labels.to(coefficients.device).expand(coefficients.shape).flatten(2)
        energy = coefficients.square().flatten(2)
        sums = energy.new_zeros(*energy.shape[:2], int(labels.max()) + 1)
        counts = sums.scatter_add(2, bands, energy.new_ones(()).expand_as(energy))
        power = sums.scatter_add(2, bands, energy) / counts.clamp(min=1)
        # A signal variance of 0 gives an infinite threshold, which sets the subband to 0.
        thresholds = sigma**2 / (power - sigma**2).clamp(min=0).sqrt()
        return soft(coefficients, thresholds.gather(2, bands).reshape(coefficients.shape))
