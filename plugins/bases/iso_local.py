"""Harmonics of a graph whose weights decrease with the local variance of an image."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional

from gahbench_plugins.bases.graph import GraphBasis, graph_laplacian, laplacian_of_weights


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} is even; accepted: odd numbers, so that a window has a centre")
    return value


#: Side of a square window centred at a pixel.
Window = Annotated[int, Field(ge=3), AfterValidator(_odd)]


class IsoLocal(GraphBasis):
    """Harmonics of a graph whose weights depend on the local variance, but not on direction.

    The basis vectors are the eigenvectors of L = D - W with w_ij = exp(-|i - j|^2 / 2) / sqrt(a_i a_j) for pixels of
    distance up to 2. Here a_i = v_i + floor^2, where v_i is the variance of the image in the window around i, averaged
    over the channels. The filters smooth more where the image is flat and less where it varies, equally in all
    directions. The basis is therefore a null hypothesis for ``graph-laplacian``, whose graph also follows contours. It
    still has some geometry, since a graph conducts less across a strip of weak links.

    Parameters
    ----------
    window
        Side of the square window, in pixels, an odd number.
    floor
        Standard deviation below which differences in variance have little influence, in units of the grey scale.
    """

    display_name = "isotropic graph harmonics"

    def __init__(self, window: Window = 5, floor: Annotated[float, Field(gt=0)] = 0.03) -> None:
        super().__init__()
        self.window = window
        self.floor = floor

    def laplacian(self, images: Tensor) -> Tensor:
        """Return L of each image, shape (N, H * W, H * W), float64."""
        scale = (local_variance(images, self.window) + self.floor**2).sqrt().flatten(1)
        uniform = graph_laplacian(torch.zeros_like(images[:1, :1]), 2.0, 1.0, 1.0)
        weights = -uniform / (scale[:, :, None] * scale[:, None])
        weights.diagonal(dim1=-2, dim2=-1).zero_()
        return laplacian_of_weights(weights)


def local_variance(images: Tensor, window: int) -> Tensor:
    """Return the variance of images in a square window around each pixel, averaged over the channels."""
    # Subtract a constant, since differences of large squares would lose accuracy.
    values = images.double() - images.double().mean((1, 2, 3), keepdim=True)
    padded = functional.pad(values, (window // 2,) * 4, mode="replicate")
    mean, power = (functional.avg_pool2d(part, window, stride=1) for part in (padded, padded.square()))
    return (power - mean.square()).clamp(min=0).mean(1)
