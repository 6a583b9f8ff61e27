"""The denoiser that memorizes its training images."""

from __future__ import annotations

from torch import Tensor

from gahbench import Truth, image_shape
from gahbench.jacobian import LinearMaps

from .._papers import KADKHODAIE_2024
from ..datasets.finite import empirical_bayes, empirical_filters
from ._training_memory import TrainingMemory


class EmpiricalBayes(TrainingMemory):
    """The denoiser of least expected squared error if the training images were all there is: it memorizes them.

    The result is sum_i w_i x_i, w = softmax(-|y - x_i|^2 / 2 sigma^2), over the training images x_i: the minimizer of
    the training loss among all functions, which networks with few training images approach (Kadkhodaie 2024, section
    2). On the dataset ``finite`` of the same images it is the optimum; on others it cannot generalize. Its Jacobian is
    exact: the posterior covariance over sigma^2 (equation 9).

    It may be fitted to any :class:`gahbench.TrainingData`, such as the very images that a network was trained on, and
    then computes in float64 and in pieces of 64 MiB. Without noise the images are returned as they are.

    Parameters
    ----------
    images
        Most training images to memorize.
    """

    citation = KADKHODAIE_2024

    @property
    def notes(self) -> tuple[str, ...]:
        """The number of images it memorized."""
        if self._training is None:
            return ()
        count = len(self._training)
        return (f"memorized {count} training image{'s' * (count > 1)}",)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W), where the noisy ones are."""
        members = self.fitted(image_shape(noisy))
        return noisy if sigma == 0 else self._means(members, noisy, sigma)

    def denoise_each(self, noisy: Tensor, sigmas: Tensor, truth: Truth) -> Tensor:
        """Return the denoised images, each of its own noise level, all at once."""
        if not (sigmas > 0).all():
            return super().denoise_each(noisy, sigmas, truth)
        return self._means(self.fitted(image_shape(noisy)), noisy, sigmas.to(self.device))

    def _means(self, members: Tensor, noisy: Tensor, sigma: float | Tensor) -> Tensor:
        found = empirical_bayes(members.flatten(1), noisy.to(self.device).flatten(1), sigma).mean
        return found.view_as(noisy).to(noisy)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the posterior covariances over sigma^2, float64; ``None`` without noise."""
        members = self.fitted(image_shape(noisy))
        return empirical_filters(members, noisy.to(self.device), sigma) if sigma > 0 else None
