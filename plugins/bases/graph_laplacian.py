"""Eigenvectors of a graph that joins nearby pixels of similar values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from .._papers import TOMASI_1998
from ._graph import GraphBasis, laplacian_of_weights

Positive = Annotated[float, Field(gt=0)]


class GraphLaplacian(GraphBasis):
    """Eigenvectors of a graph that joins nearby pixels of similar values: the reference geometry-adaptive harmonics.

    The basis vectors are the eigenvectors of the combinatorial Laplacian L = D - W, by ascending eigenvalue, with
    w_ij = exp(-|i - j|^2 / (2 hs^2) - |x_i - x_j|^2 / (2 hr^2)) for pixels of distance up to ``radius`` (bilateral
    weights, Tomasi & Manduchi 1998). The difference of colours is Euclidean over the channels. The computation, in
    float64, takes 0.2 s for 32x32 pixels and 13 s for 64x64 pixels on one core.

    Parameters
    ----------
    radius
        Maximum distance of joined pixels, in pixels.
    hs
        Scale of distances, in pixels.
    hr
        Scale of differences, in units of the grey scale.
    """

    display_name = "graph harmonics"
    citation = TOMASI_1998

    def __init__(self, radius: Annotated[float, Field(ge=1)] = 2.0, hs: Positive = 1.0, hr: Positive = 0.1) -> None:
        super().__init__()
        self.radius = radius
        self.hs = hs
        self.hr = hr

    def laplacian(self, images: Tensor) -> Tensor:
        """Return L of each image; see :func:`graph_laplacian`."""
        return graph_laplacian(images, self.radius, self.hs, self.hr)


def graph_laplacian(images: Tensor, radius: float = 2.0, hs: float = 1.0, hr: float = 0.1) -> Tensor:
    """Return the graph Laplacian L = D - W of each image; the weights are those of :class:`GraphLaplacian`."""
    count, _, height, width = images.shape
    values = images.double()
    indices = torch.arange(height * width, device=images.device).reshape(height, width)
    weights = values.new_zeros(count, height * width, height * width)
    for down, right in _offsets(radius, height, width):
        # Pixels whose neighbour at this offset is in the image, and these neighbours.
        rows, columns = slice(0, height - down), slice(max(0, -right), width - max(0, right))
        next_rows, next_columns = slice(down, height), slice(max(0, right), width + min(0, right))
        differences = values[..., rows, columns] - values[..., next_rows, next_columns]
        near = (down**2 + right**2) / (2 * hs**2)
        edges = torch.exp(-near - differences.square().sum(1) / (2 * hr**2)).flatten(1)
        first, second = indices[rows, columns].flatten(), indices[next_rows, next_columns].flatten()
        weights[:, first, second] = edges
        weights[:, second, first] = edges
    return laplacian_of_weights(weights)


def _offsets(radius: float, height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the offsets (down, right) of length up to the radius, without opposite offsets."""
    reach = math.floor(radius)
    for down in range(min(reach, height - 1) + 1):
        span = min(reach, width - 1)
        for right in range(-span, span + 1):
            if 0 < down**2 + right**2 <= radius**2 and (down > 0 or right > 0):
                yield down, right
