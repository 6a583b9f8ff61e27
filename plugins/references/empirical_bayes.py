"""The posterior mean under the empirical distribution of the training images."""

from __future__ import annotations

from torch import Tensor, nn

from gahbench import Shape, Truth, image_shape
from gahbench.jacobian import LinearMaps
from gahbench_plugins.datasets.finite import empirical_bayes, empirical_filters
from gahbench_plugins.references.training_memory import TrainingMemory


class EmpiricalBayes(TrainingMemory):
    """Posterior mean under the empirical distribution of the training images: a denoiser that memorizes them.

    The denoised image is sum_i w_i x_i with w = softmax(-|y - x_i|^2 / 2 sigma^2), over the training images x_i. It
    minimises the training loss over all functions, and networks with few training images approach it (Kadkhodaie 2024,
    section 2). On the dataset ``finite`` of the same images it is optimal; on other datasets it cannot generalize. Its
    Jacobian is exact: the posterior covariance over sigma^2 (equation 9).

    It can be fitted to any :class:`gahbench.TrainingData`, such as the images that a network was trained on. It
    computes in float64, in chunks of 64 MiB. If sigma is 0 the images are returned unchanged.

    Parameters
    ----------
    images
        Largest number of training images to memorize.
    """

    display_name = "empirical Bayes"
    citation = "kadkhodaie-2024"
    verb = "memorized"

    def as_network(self, shape: Shape) -> nn.Module:
        """Return the posterior means as a network, for noise levels greater than 0."""
        return _Means(self)

    def means(self, training: Tensor, noisy: Tensor, sigma: float | Tensor) -> Tensor:
        """Return the posterior means, shape (N, C, H, W)."""
        return empirical_bayes(training.flatten(1), noisy.flatten(1), sigma).mean.view_as(noisy).to(noisy)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the posterior covariances over sigma^2, float64; ``None`` if ``sigma`` is 0."""
        training = self.fitted(image_shape(noisy))
        return None if sigma == 0 else empirical_filters(training, noisy.to(self.device), sigma)


class _Means(nn.Module):
    def __init__(self, reference: EmpiricalBayes) -> None:
        super().__init__()
        self.reference = reference

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        return self.reference.means(self.reference.fitted(image_shape(noisy)), noisy, sigma)
