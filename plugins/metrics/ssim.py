"""Structural similarity."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from gahbench import Shape
from gahbench.evaluation import Evaluation, PerLevel

#: Width and standard deviation of the Gaussian window of the publication, in pixels.
WINDOW = 11
WINDOW_SIGMA = 1.5


class Ssim(PerLevel):
    """Structural similarity (SSIM) between denoised and clean images, from -1 to 1.

    The similarity follows Wang, Bovik, Sheikh & Simoncelli 2004: local means, variances and covariances under a
    Gaussian window of 11 pixels with standard deviation 1.5, K1 = 0.01, K2 = 0.03, data range 1, averaged over all
    windows inside the image and over channels. It has no closed form for oracles, so it is measured on denoised images
    for all denoisers.
    """

    citation = "wang-2004"
    any_noise = True

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` if a side of the images is smaller than the window."""
        if min(shape[1:]) < WINDOW:
            raise ValueError(f"ssim needs image sides of at least {WINDOW} pixels, not {shape[1]}x{shape[2]}")

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the SSIM."""
        self.check(evaluation.shape, evaluation.sigmas)
        return {"": ssim(evaluation.denoised(sigma), evaluation.clean)}


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity of images (N, C, H, W) with data range 1, shape (N,), float64."""
    # Variances are differences of nearly equal numbers, which need double precision.
    first, second = first.double(), second.double()
    mean_first, mean_second = _smooth(first), _smooth(second)
    variances = _smooth(first.square() + second.square()) - mean_first.square() - mean_second.square()
    covariance = _smooth(first * second) - mean_first * mean_second
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_first * mean_second + c1) * (2 * covariance + c2)
    similarity /= (mean_first.square() + mean_second.square() + c1) * (variances + c2)
    return similarity.flatten(1).mean(1)


def _smooth(images: Tensor) -> Tensor:
    """Return the weighted local means over all windows inside the images."""
    offsets = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    weights = torch.softmax(-offsets.square() / (2 * WINDOW_SIGMA**2), dim=0)
    rows = functional.conv2d(images.flatten(0, 1)[:, None], weights.view(1, 1, 1, -1))
    means = functional.conv2d(rows, weights.view(1, 1, -1, 1))
    return means.view(*images.shape[:2], *means.shape[2:])
