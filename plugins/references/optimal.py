"""The optimum of a dataset: its best denoiser, and lower bounds."""

from __future__ import annotations

from torch import Tensor

from gahbench import Dataset, OptimumError, Reference, Truth
from gahbench.jacobian import LinearMaps


class Optimal(Reference):
    """The posterior mean: no denoiser has a smaller expected squared error on the dataset.

    Known where a dataset's optimum is ``exact``; a suite leaves its row out elsewhere. Its error is that under the
    same noise as all others, which makes differences from it paired.
    """

    kind = "optimal"

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the posterior of the dataset can be computed."""
        return dataset.optimum.kind == "exact"

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the posterior means, shape (N, C, H, W)."""
        return _dataset(truth).posterior(noisy, sigma).mean.to(noisy.dtype)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the posterior covariances over sigma^2, where the dataset provides them."""
        return _dataset(truth).optimal_filters(noisy, sigma, truth.split, truth.start)


class LowerBound(Reference):
    """A lower bound on any denoiser's expected squared error: that of a genie that sees more.

    Known where a dataset's optimum is a ``bracket``; a suite leaves its row out elsewhere. The bound of an image is
    expected over the noise and over all that the genie does not see; what it returns as denoised is the image as
    the genie denoises it.
    """

    kind = "bound"

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the dataset provides a lower bound."""
        return dataset.optimum.kind == "bracket"

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the genie's images, shape (N, C, H, W)."""
        return _dataset(truth).genie(noisy, sigma, truth.split, truth.start).to(noisy.dtype)

    def risk(self, truth: Truth, sigma: float) -> Tensor:
        """Return the bound on the mean squared error per pixel of each image, shape (N,), float64."""
        return _dataset(truth).lower_bound(truth.split, len(truth), sigma, truth.start)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the genie's filters."""
        return _dataset(truth).optimal_filters(noisy, sigma, truth.split, truth.start)


def _dataset(truth: Truth) -> Dataset:
    if truth.dataset is None:
        raise OptimumError("the optimum is that of a dataset; pass a gahbench.Truth that names its 'dataset'")
    return truth.dataset
