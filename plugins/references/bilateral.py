"""The bilateral filter."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench_plugins.references.tuned import Tuned, iterate_displacements


class Bilateral(Tuned):
    """Bilateral filter (Tomasi & Manduchi 1998): each pixel is an average of nearby pixels with similar values.

    The weight of pixel j for pixel i is exp(-|i - j|^2 / (2 hs^2) - |y_i - y_j|^2 / (2 hr^2)), computed from the noisy
    image y and scaled to a sum of 1. The difference of colours is Euclidean over the channels, which share their
    weights. Boundaries are reflecting. With a large ``hr`` the filter is a Gaussian blur. Its Jacobian includes the
    derivative of the weights.

    Parameters
    ----------
    hr
        Scale of differences in units of grey values, about 3 sigma; ``null`` to tune it at each noise level.
    hs
        Scale of distances, in pixels.
    distance
        Largest displacement along rows and along columns, in pixels; ``null`` for 3 hs, rounded up.
    images
        Largest number of validation images for tuning.
    """

    display_name = "bilateral filter"
    citation = "tomasi-1998"
    tuned_parameter = "hr"
    limits = (1e-6, 1e3)

    def __init__(
        self,
        hr: Annotated[float, Field(gt=0)] | None = None,
        hs: Annotated[float, Field(gt=0, le=100)] = 1.5,
        distance: Annotated[int, Field(ge=1)] | None = None,
        images: Annotated[int, Field(ge=1)] = 16,
    ) -> None:
        super().__init__(hr, images)
        self.hs = hs
        self.distance = math.ceil(3 * hs) if distance is None else distance

    def filter_images(self, noisy: Tensor, sigma: float, value: float) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        total, weights = torch.zeros_like(noisy), torch.zeros_like(noisy[:, :1])
        for down, right, neighbours in iterate_displacements(noisy, self.distance):
            near = (down**2 + right**2) / (2 * self.hs**2)
            difference = (noisy - neighbours).square().sum(1, keepdim=True)
            weight = torch.exp(-near - difference / (2 * value**2))
            total = total + weight * neighbours
            weights = weights + weight
        return total / weights

    def guess(self, sigma: float) -> float:
        """Return 3 sigma."""
        return 3 * sigma
