"""Discs: images on a manifold of dimension 5."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench.contracts import Optimum, Shape

from .generated import Generated

# Range of the radius, in units of the side of the image.
SMALLEST_RADIUS = 0.1
LARGEST_RADIUS = 0.4
#: Least radius in pixels, and least distance of the disc from the border.
RADIUS_FLOOR = 1.5
MARGIN = 0.5
#: Standard deviation of the blur of the edge, in pixels: it rises from 10 % to 90 % over 1.3 pixels.
EDGE = 0.5


class Discs(Generated):
    """One disc on a flat background, with a soft edge.

    Images of 5 parameters (Kadkhodaie 2024): the centre's row and column, the radius, the grey
    values of foreground and background. The radius is uniform in [.1, .4] sides (at least 1.5 pixels), the
    centre uniform where the disc stays half a pixel inside the image, the grey values independent and uniform
    in [0, 1]. The dimension of the manifold is 5: as sigma tends to 0 the least squared error tends to 5
    sigma^2, so the optimal slope is 1.

    Parameters
    ----------
    size
        Height and width in pixels.
    seed
        Seed of the images.
    """

    def __init__(self, size: Annotated[int, Field(ge=8)] = 64, seed: int = 0) -> None:
        super().__init__("discs", seed)
        self.size = size

    @property
    def shape(self) -> Shape:
        """Shape (1, size, size) of one image."""
        return (1, self.size, self.size)

    @property
    def optimum(self) -> Optimum:
        """The optimal slope, that of a smooth manifold."""
        return Optimum("rate", slope=1.0)

    def draw(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw images, shape (count, 1, size, size), float32."""
        return render(self.draw_parameters(generator, count), self.size)

    def draw_parameters(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw (row, column, radius, foreground, background), shape (count, 5), lengths in pixels."""
        uniform = torch.rand(count, 5, generator=generator)
        least = max(SMALLEST_RADIUS * self.size, RADIUS_FLOOR)
        radius = least + (LARGEST_RADIUS * self.size - least) * uniform[:, 2:3]
        reach = radius + MARGIN
        centre = reach + (self.size - 2 * reach) * uniform[:, :2]
        return torch.cat([centre, radius, uniform[:, 3:]], dim=1)


def render(parameters: Tensor, size: int) -> Tensor:
    """Return discs, shape (N, 1, size, size), as a differentiable function of their parameters.

    The edge is a straight edge blurred by a Gaussian of standard deviation half a pixel, so about a pixel
    wide; it depends smoothly on every parameter, and disappears into rounding some 3 pixels away from the
    contour.

    Parameters
    ----------
    parameters
        (row, column, radius, foreground, background), shape (N, 5); lengths in pixels, and pixel (i, j) is
        centred at (i + 1/2, j + 1/2).
    size
        Height and width in pixels.
    """
    row, column, radius, foreground, background = parameters[:, :, None, None].unbind(1)
    places = torch.arange(size, dtype=parameters.dtype, device=parameters.device) + 0.5
    squares = (places[:, None] - row).square() + (places - column).square()
    # The clamp gives the square root a finite gradient at the very centre, where the disc is flat anyway.
    distance = squares.clamp(min=1e-12).sqrt()
    inside: Tensor = torch.special.ndtr((radius - distance) / EDGE)
    return (background + (foreground - background) * inside).unsqueeze(1)
