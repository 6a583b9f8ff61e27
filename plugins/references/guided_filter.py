"""The guided filter, with the noisy image as its own guide."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gahbench_plugins.references.tuned import Tuned, iterate_displacements, pad_by_reflection


class GuidedFilter(Tuned):
    """Guided filter (He, Sun & Tang 2013) that is guided by the noisy image itself: a local linear regression.

    In the window w with mean m and variance v of the noisy image, each pixel y is mapped to a y + (1 - a) m, with
    a = v / (v + eps sigma^2). The result is the mean over all windows that contain the pixel. For colour images v is
    the covariance matrix of the channels, and a is the matrix (v + eps sigma^2)^-1 v. Boundaries are reflecting. With a
    large ``eps`` the filter is the mean over windows, applied twice. Its Jacobian includes the derivative of a.

    Parameters
    ----------
    eps
        Regularisation in units of sigma^2; ``null`` to tune it at each noise level.
    radius
        Windows have side 2 radius + 1, in pixels.
    images
        Largest number of validation images for tuning.
    """

    display_name = "guided filter"
    citation = "he-2013"
    tuned_parameter = "eps"
    limits = (1e-3, 1e6)

    def __init__(
        self,
        eps: Annotated[float, Field(gt=0)] | None = None,
        radius: Annotated[int, Field(ge=1)] = 1,
        images: Annotated[int, Field(ge=1)] = 16,
    ) -> None:
        super().__init__(eps, images)
        self.radius = radius

    def filter_images(self, noisy: Tensor, sigma: float, value: float) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        count, channels, height, width = noisy.shape
        means = self._window_means(noisy)
        # Sums of products of centred values have no negative eigenvalues, unlike differences of large moments.
        covariance = noisy.new_zeros(count, channels, channels, height, width)
        for _, _, neighbours in iterate_displacements(noisy, self.radius):
            centred = neighbours - means
            covariance = covariance + centred[:, :, None] * centred[:, None]
        covariance = (covariance / (2 * self.radius + 1) ** 2).permute(0, 3, 4, 1, 2)
        eye = torch.eye(channels, dtype=noisy.dtype, device=noisy.device)
        # Division by sigma^2 keeps the matrix well scaled at every noise level.
        covariance = covariance / sigma**2
        slopes = torch.linalg.solve(covariance + value * eye, covariance).permute(0, 3, 4, 1, 2)
        intercepts = means - _times(slopes, means)
        slopes = self._window_means(slopes.flatten(1, 2)).view_as(slopes)
        return _times(slopes, noisy) + self._window_means(intercepts)

    def guess(self, sigma: float) -> float:
        """Return 4, in units of sigma^2."""
        return 4.0

    def _window_means(self, images: Tensor) -> Tensor:
        return functional.avg_pool2d(pad_by_reflection(images, self.radius), 2 * self.radius + 1, stride=1)


def _times(matrices: Tensor, images: Tensor) -> Tensor:
    """Multiply the channels (N, C, H, W) by symmetric matrices for each pixel, shape (N, C, C, H, W)."""
    return (matrices * images[:, None]).sum(2)
