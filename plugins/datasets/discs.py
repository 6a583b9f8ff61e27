"""Discs: images on a manifold of dimension 5."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench_plugins.datasets.manifold import Manifold

#: Range of the radius, in units of the side of the image.
SMALLEST_RADIUS, LARGEST_RADIUS = 0.1, 0.4
#: Minimum radius, and minimum distance of the disc from the border, in pixels.
RADIUS_FLOOR, MARGIN = 1.5, 0.5
#: Standard deviation of the blur of the edge, in pixels: the edge rises from 10 % to 90 % over 1.3 pixels.
EDGE = 0.5


class Discs(Manifold):
    """A disc with a soft edge on a flat background.

    An image has 5 parameters (Kadkhodaie 2024): the row and column of the centre, the radius, and the grey values of
    foreground and background. The radius is uniform in [0.1, 0.4] times the side of the image (at least 1.5 pixels).
    The centre is uniform over the positions that keep the disc at least half a pixel inside the image. The grey values
    are independent and uniform in [0, 1]. The dimension of the manifold is 5: as sigma tends to 0, the minimum squared
    error, summed over pixels, tends to 5 sigma^2, so the optimal slope is 1. The posterior mean integrates the grey
    values by quadrature, and centre and radius by importance sampling.

    Parameters
    ----------
    size
        Height and width in pixels.
    seed
        Seed of the images.
    """

    display_name = "discs"
    citation = "kadkhodaie-2024"
    nonlinear = 3
    intensities = 2

    def __init__(self, size: Annotated[int, Field(ge=8)] = 64, seed: int = 0) -> None:
        super().__init__("discs", seed)
        self.size = size

    def prior_transform(self, uniform: Tensor) -> Tensor:
        """Return (row, column, radius) in pixels from uniform random numbers; both (N, 3)."""
        lower = max(SMALLEST_RADIUS * self.size, RADIUS_FLOOR)
        radius = lower + (LARGEST_RADIUS * self.size - lower) * uniform[:, 2:]
        reach = radius + MARGIN
        centre = reach + (self.size - 2 * reach) * uniform[:, :2]
        return torch.cat([centre, radius], dim=1)

    def render(self, parameters: Tensor) -> Tensor:
        """Return the images, shape (N, 1, size, size), of (row, column, radius, foreground, background), (N, 5)."""
        foreground, background = parameters[:, 3, None, None], parameters[:, 4, None, None]
        inside: Tensor = torch.special.ndtr(self._depths(parameters[:, :3]) / EDGE)
        return (background + (foreground - background) * inside).unsqueeze(1)

    def parts(self, nonlinear: Tensor) -> Tensor:
        """Return indicators of disc and background, shape (N, 2, 1, size, size), of (row, column, radius), (N, 3)."""
        # Sampling spends most of its time here: work in place, with erf, since ndtr is slow in float64.
        inside = self._depths(nonlinear).mul_(math.sqrt(0.5) / EDGE).erf_().add_(1).mul_(0.5)
        return torch.stack([inside, 1 - inside], dim=1).unsqueeze(2)

    def _depths(self, nonlinear: Tensor) -> Tensor:
        """Return the depth in pixels of each pixel inside the circle (row, column, radius), shape (N, size, size)."""
        row, column, radius = nonlinear[:, :, None, None].unbind(1)
        centres = torch.arange(self.size, dtype=nonlinear.dtype, device=nonlinear.device) + 0.5
        squares = (centres[:, None] - row).square() + (centres - column).square()
        # The clamp gives the square root a finite gradient at the centre, where the disc is flat.
        depth: Tensor = radius - squares.clamp(min=1e-12).sqrt()
        return depth
