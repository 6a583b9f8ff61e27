"""Harmonics of a graph that joins all neighbours, the less the more an image varies there."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional

from ._graph import GraphBasis, degrees_minus
from .graph_laplacian import graph_laplacian

#: Grey values that differ by any amount are as near as equal ones.
_ANY = 1e6


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} is even: accepted are odd numbers, so that a window has a middle")
    return value


#: Side of a square window about a pixel.
Window = Annotated[int, Field(ge=3), AfterValidator(_odd)]


class IsoLocal(GraphBasis):
    """Harmonics of a graph in which the variance about a pixel, and no direction, decides how strongly it is joined.

    L = D - W, w_ij = exp(-|i - j|^2 / 2) / sqrt(a_i a_j) for pixels at most 2 apart, a_i = v_i + floor^2 with v_i the
    variance of the image in the window about i, the mean over the channels. Its filters smooth much where the image is
    flat and little where it varies, alike in all directions: what ``graph-laplacian`` has beyond it is that graphs
    follow contours. Since a graph still conducts less across a strip of weak links, it is a null with a little
    geometry.

    Parameters
    ----------
    window
        Side of the square window, in pixels, odd.
    floor
        Standard deviation below which differences in variance do not matter, in units of the grey scale.
    """

    def __init__(self, window: Window = 5, floor: Annotated[float, Field(gt=0)] = 0.03) -> None:
        super().__init__()
        self.window = window
        self.floor = floor

    def laplacian(self, images: Tensor) -> Tensor:
        """Return L of each image, shape (N, H * W, H * W), float64."""
        scale = (local_variance(images, self.window) + self.floor**2).sqrt().flatten(1)
        everywhere = graph_laplacian(torch.zeros_like(images[:1, :1]), 2.0, 1.0, _ANY)
        weights = -everywhere / (scale[:, :, None] * scale[:, None])
        weights.diagonal(dim1=-2, dim2=-1).zero_()
        return degrees_minus(weights)


def local_variance(images: Tensor, window: int) -> Tensor:
    """Return the variance of images in a square window about each pixel, the mean over the channels."""
    # Less a constant, as squares of large values would cancel.
    values = images.double() - images.double().mean((1, 2, 3), keepdim=True)
    padded = functional.pad(values, (window // 2,) * 4, mode="replicate")
    mean, power = (functional.avg_pool2d(part, window, stride=1) for part in (padded, padded.square()))
    return (power - mean.square()).clamp(min=0).mean(1)
