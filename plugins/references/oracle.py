"""Oracles: the best that shrinking coefficients in a basis can do, knowing the clean image."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from gahbench.contracts import DenoiserKind, Truth
from gahbench.parameters import Names

from .shrinkage import Shrinkage


class OracleThreshold(Shrinkage):
    """Oracle thresholding: keeps the coefficients whose clean value exceeds the noise, kills the others.

    The weights are 1 where |c_k| > sigma and 0 elsewhere, c_k the coefficients of the clean image; the
    expected squared error is sum_k min(c_k^2, sigma^2) (Donoho & Johnstone 1994), within a factor 2 of oracle
    shrinkage.

    Parameters
    ----------
    basis
        An orthonormal basis.
    """

    kind: DenoiserKind = "oracle"

    def __init__(self, basis: Annotated[str, Names("basis")] = "sym4") -> None:
        super().__init__(basis)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        kept = self.basis.analysis(truth.clean).abs() > sigma
        return self.basis.synthesis(self.basis.analysis(noisy) * kept)

    def risk(self, truth: Truth, sigma: float) -> Tensor:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64."""
        energy = self.basis.analysis(truth.clean.double()).square()
        return energy.clamp(max=sigma**2).flatten(1).mean(1)


class OracleShrink(Shrinkage):
    """Oracle shrinkage: multiplies each coefficient by the best weight for its clean value.

    The weights are c_k^2 / (c_k^2 + sigma^2), c_k the coefficients of the clean image; the expected squared
    error is sum_k sigma^2 c_k^2 / (c_k^2 + sigma^2) (Kadkhodaie 2024, equation 12).

    Parameters
    ----------
    basis
        An orthonormal basis.
    """

    kind: DenoiserKind = "oracle"

    def __init__(self, basis: Annotated[str, Names("basis")] = "sym4") -> None:
        super().__init__(basis)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        weights = shrinkage_weights(self.basis.analysis(truth.clean), sigma)
        return self.basis.synthesis(self.basis.analysis(noisy) * weights)

    def risk(self, truth: Truth, sigma: float) -> Tensor:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64."""
        weights = shrinkage_weights(self.basis.analysis(truth.clean.double()), sigma)
        return sigma**2 * weights.flatten(1).mean(1)


def shrinkage_weights(coefficients: Tensor, sigma: float) -> Tensor:
    """Return c^2 / (c^2 + sigma^2) for the clean coefficients c; without noise every weight is 1."""
    if sigma == 0:
        return coefficients.new_ones(()).expand_as(coefficients)
    energy = coefficients.square()
    return energy / (energy + sigma**2)
