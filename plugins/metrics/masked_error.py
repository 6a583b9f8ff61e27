"""The error at pixels that the denoiser does not see, which needs no clean images."""

from __future__ import annotations

import itertools
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation

from .._papers import BATSON_2019

#: Weights of the eight neighbours that replace a masked pixel.
_WEIGHTS = ((0.5, 1.0, 0.5), (1.0, 0.0, 1.0), (0.5, 1.0, 0.5))


class MaskedError(Metric):
    """Mean squared error at pixels that the denoiser does not see, divided by sigma^2, without clean images.

    The pixels of a grid are replaced by the weighted means of their neighbours, and the denoised image is compared with
    the noisy image at these pixels; each pixel belongs to one of the grids. The denoiser does not see the noise of the
    pixel, so the mean squared difference is the error plus the variance of the noise, which is subtracted (Batson &
    Royer 2019). The noise must be independent between pixels, with a mean of 0, of any distribution.

    The value is the error of the denoiser without the pixel, which is larger than its error with the pixel, and more so
    where denoisers change the noisy image little. It ranks denoisers; compare values of ``sure`` where noise is white
    and Gaussian.

    Parameters
    ----------
    spacing
        Distance of the pixels of a grid. Denoisers run ``spacing`` squared times.
    """

    citation = BATSON_2019
    higher_is_better = False
    titles: ClassVar[dict[str, str]] = {"": "squared error at unseen pixels / σ²"}
    without_clean = frozenset({"white", "independent"})

    def __init__(self, spacing: Annotated[int, Field(ge=2, le=16)] = 4) -> None:
        self.spacing = spacing

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the error for every image at every noise level."""
        return Scores.grid(
            torch.stack([self._errors(evaluation, sigma) for sigma in evaluation.sigmas]), evaluation.sigmas
        )

    def _errors(self, evaluation: Evaluation, sigma: float) -> Tensor:
        noisy = evaluation.noisy(sigma)
        interpolated, denoised = interpolate(noisy), torch.empty_like(noisy)
        for row, column in itertools.product(range(self.spacing), repeat=2):
            grid = (..., slice(row, None, self.spacing), slice(column, None, self.spacing))
            masked = noisy.clone()
            masked[grid] = interpolated[grid]
            denoised[grid] = evaluation.denoise(masked, sigma)[grid]
        difference = (denoised.double() - noisy) / evaluation.levels(sigma).view(-1, 1, 1, 1)
        return difference.square().flatten(1).mean(1) - 1


def interpolate(images: Tensor) -> Tensor:
    """Return the weighted mean of the neighbours of each pixel, inside the image, of images (N, C, H, W)."""
    channels = images.shape[1]
    weights = images.new_tensor(_WEIGHTS).expand(channels, 1, 3, 3)
    total = functional.conv2d(images, weights, padding=1, groups=channels)
    return total / functional.conv2d(torch.ones_like(images), weights, padding=1, groups=channels)
