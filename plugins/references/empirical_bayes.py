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
    verb = "memorized"

    def denoise_each(self, noisy: Tensor, sigmas: Tensor, truth: Truth) -> Tensor:
        """Return the denoised images, each of its own noise level, all at once."""
        if not (sigmas > 0).all():
            return super().denoise_each(noisy, sigmas, truth)
        members = self.fitted(image_shape(noisy))
        return self.means(members, noisy.to(self.device), sigmas.to(self.device)).to(noisy.device)

    def means(self, training: Tensor, noisy: Tensor, sigma: float | Tensor) -> Tensor:
        """Return the averages of the training images under their posterior weights, shape (N, C, H, W)."""
        return empirical_bayes(training.flatten(1), noisy.flatten(1), sigma).mean.view_as(noisy).to(noisy)

    def derivatives(self, training: Tensor, noisy: Tensor, sigma: float) -> LinearMaps:
        """Return the posterior covariances over sigma^2."""
        return empirical_filters(training, noisy, sigma)
