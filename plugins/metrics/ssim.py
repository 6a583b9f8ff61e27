"""Structural similarity."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from gahbench import Metric, Scores, Shape
from gahbench.evaluation import Evaluation

from .._papers import WANG_2004

#: Width and standard deviation of the Gaussian window of the publication, in pixels.
WINDOW = 11
WINDOW_SIGMA = 1.5


class Ssim(Metric):
    """Structural similarity (SSIM) between denoised and clean images, from -1 to 1.

    The similarity follows Wang, Bovik, Sheikh & Simoncelli 2004: local means, variances and covariances under a
    Gaussian window of 11 pixels with standard deviation 1.5, K1 = 0.01, K2 = 0.03, data range 1, averaged over all
    windows inside the image and over channels. It has no closed form for oracles, so it is measured on denoised images
    for all denoisers.
    """

    citation = WANG_2004
    any_noise = True

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` if a side of the images is smaller than the window."""
        _check_sides(*shape[1:])

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the SSIM for every image at every noise level."""
        values = [ssim(evaluation.denoised(sigma), evaluation.clean) for sigma in evaluation.sigmas]
        return Scores.grid(torch.stack(values), evaluation.sigmas)


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity of images (N, C, H, W) with data range 1, shape (N,), float64."""
    _check_sides(*first.shape[-2:])
    # Variances are differences of nearly equal numbers, which need double precision.
    first, second = first.double(), second.double()
    mean_first, mean_second = _smooth(first), _smooth(second)
    variance_first = _smooth(first.square()) - mean_first.square()
    variance_second = _smooth(second.square()) - mean_second.square()
    covariance = _smooth(first * second) - mean_first * mean_second
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_first * mean_second + c1) * (2 * covariance + c2)
    similarity /= mean_first.square() + mean_second.square() + c1
    similarity /= variance_first + variance_second + c2
    return similarity.flatten(1).mean(1)


def _check_sides(height: int, width: int) -> None:
    if min(height, width) < WINDOW:
        raise ValueError(f"ssim needs image sides of at least {WINDOW} pixels, not {height}x{width}")


def _smooth(images: Tensor) -> Tensor:
    """Return the weighted local means over all windows inside the images."""
    offsets = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * WINDOW_SIGMA**2))
    weights /= weights.sum()
    channels = images.shape[1]
    along_rows = functional.conv2d(images, weights.expand(channels, 1, 1, WINDOW), groups=channels)
    return functional.conv2d(along_rows, weights[:, None].expand(channels, 1, WINDOW, 1), groups=channels)
