"""Whether the eigenvectors of a denoiser oscillate along contours less than across them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gahbench import Metric, Scores, Shape
from gahbench.evaluation import Evaluation

from ._eigenbasis import check_eigenvectors, kept, scores_of


class ContourAnisotropy(Metric):
    """Share of the gradients of the kept eigenvectors that points along the contours of the clean image.

    The direction of the contour at a pixel is that in which the structure tensor of the clean image (gradients squared,
    smoothed by a Gaussian) is least; pixels count by the difference of its two eigenvalues, which is large at
    contours alone. Of the first K = round(trace) eigenvectors e_k of the Jacobian's symmetric part, each counted by its
    eigenvalue, it is the energy of the derivative along that direction over that of the gradient: 1/2 for vectors that
    are independent of contours, less for those that oscillate along them less than across.

    Parameters
    ----------
    smoothing
        Standard deviation of the Gaussian, in pixels.
    """

    needs = frozenset({"jacobian"})
    higher_is_better = False

    def __init__(self, smoothing: Annotated[float, Field(gt=0)] = 1.0) -> None:
        self.smoothing = smoothing

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images of more than 2304 values."""
        check_eigenvectors(shape, "contour-anisotropy")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the share of every image at every noise level; none without a Jacobian, or for a flat image."""
        self.check(evaluation.shape, evaluation.sigmas)
        along, weight = contours(evaluation.clean.double(), self.smoothing)

        def parts(sigma: float, eigenvalues: Tensor, vectors: Tensor) -> dict[str, Tensor]:
            weights = kept(eigenvalues.cpu())
            found = [
                _share(some[:count].reshape(count, *evaluation.shape), importance[:count], direction, place)
                for some, importance, count, direction, place in zip(
                    vectors.cpu(), weights, (weights > 0).sum(1).tolist(), along, weight, strict=True
                )
            ]
            return {"": torch.stack(found)}

        return scores_of(evaluation, parts)


def contours(images: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Return unit vectors along the contours of images, (N, 2, H, W): rows, columns; and weights (N, H, W)."""
    down, right = gradients(images)
    tensor = torch.stack([(down * down).sum(1), (down * right).sum(1), (right * right).sum(1)], dim=1)
    rows, mixed, columns = _smooth(tensor, smoothing).unbind(1)
    # The angle of the direction across, from the row axis.
    angle = torch.atan2(2 * mixed, rows - columns) / 2
    difference = torch.sqrt((rows - columns).square() + 4 * mixed.square())
    return torch.stack([-torch.sin(angle), torch.cos(angle)], dim=1), difference


def gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return central differences down and to the right, one-sided at the border, in the shape of the images."""
    down, right = torch.gradient(images, dim=(-2, -1))
    return down, right


def _share(vectors: Tensor, importance: Tensor, along: Tensor, weight: Tensor) -> Tensor:
    down, right = gradients(vectors)
    derivative = down * along[0] + right * along[1]
    energy = (down.square() + right.square()).sum(1)
    # At the border differences are one-sided, and of four times the variance.
    weight = functional.pad(weight[1:-1, 1:-1], (1, 1, 1, 1))
    total = (importance[:, None, None] * weight * energy).sum()
    return (importance[:, None, None] * weight * derivative.square().sum(1)).sum() / total


def _smooth(fields: Tensor, deviation: float) -> Tensor:
    reach = max(1, round(3 * deviation))
    places = torch.arange(-reach, reach + 1, dtype=fields.dtype, device=fields.device)
    kernel = torch.exp(-places.square() / (2 * deviation**2))
    kernel = kernel / kernel.sum()
    channels = fields.shape[1]
    padded = functional.pad(fields, (reach,) * 4, mode="replicate")
    rows = functional.conv2d(padded, kernel[:, None].expand(channels, 1, -1, 1), groups=channels)
    return functional.conv2d(rows, kernel.expand(channels, 1, 1, -1), groups=channels)
