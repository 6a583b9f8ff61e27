"""The posterior mean of a dataset, and lower bounds on the error of any denoiser."""

from __future__ import annotations

from torch import Tensor

from gahbench import Dataset, OptimumError, Reference, Truth
from gahbench.jacobian import LinearMaps


class Optimal(Reference):
    """Posterior mean of the dataset: no denoiser has a smaller expected squared error.

    Only datasets whose optimum is ``exact`` are supported. The error is measured under the same noise as the errors of
    other denoisers, so differences from it are paired.
    """

    display_name = "optimal denoiser"
    kind = "optimal"

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the posterior of the dataset can be computed."""
        return dataset.optimum.kind == "exact"

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the posterior means, shape (N, C, H, W)."""
        return _dataset(truth).posterior(noisy, sigma).mean.to(noisy.dtype)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the posterior covariances over sigma^2, or ``None`` if the dataset does not provide them."""
        return _dataset(truth).optimal_filters(noisy, sigma, truth.split, truth.start)


class LowerBound(Reference):
    """Lower bound on the expected squared error of any denoiser: the error of a genie with additional information.

    Only datasets whose optimum is a ``bracket`` are supported. The bound of an image is an expectation over the noise
    and over everything that the genie does not know. The denoised images are the output of the genie.
    """

    display_name = "genie bound"
    kind = "bound"

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the dataset provides a lower bound."""
        return dataset.optimum.kind == "bracket"

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the images denoised by the genie, shape (N, C, H, W)."""
        return _dataset(truth).genie(noisy, sigma, truth.split, truth.start).to(noisy.dtype)

    def risk(self, truth: Truth, sigma: float) -> Tensor:
        """Return the bound on the mean squared error per pixel of each image, shape (N,), float64."""
        return _dataset(truth).lower_bound(truth.split, len(truth), sigma, truth.start)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the Jacobians of the genie, or ``None`` if the dataset does not provide them."""
        return _dataset(truth).optimal_filters(noisy, sigma, truth.split, truth.start)


def _dataset(truth: Truth) -> Dataset:
    if truth.dataset is None:
        raise OptimumError("the optimum depends on the dataset; pass a gahbench.Truth with a 'dataset'")
    return truth.dataset
