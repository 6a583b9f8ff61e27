"""Anisotropy of the eigenvectors of a denoiser with respect to contours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gahbench import Metric, Scores, Shape
from gahbench.evaluation import Evaluation

from ._eigenbasis import check_eigenvectors, leading_eigenvalues, score_eigenvectors


class ContourAnisotropy(Metric):
    """Fraction of the gradient energy of the leading eigenvectors that is along the contours of the clean image.

    The contour direction at a pixel minimises the structure tensor of the clean image (products of gradients, smoothed
    by a Gaussian). Pixels are weighted by the difference of the two eigenvalues of the tensor, which is large at
    contours. The value is the energy of derivatives along the contour direction divided by the energy of the gradients,
    over the first K = round(trace) eigenvectors of the Jacobian's symmetric part, weighted by their eigenvalues. It is
    1/2 for eigenvectors that are independent of contours, and less if they oscillate less along contours than across
    them.

    Parameters
    ----------
    smoothing
        Standard deviation of the Gaussian in pixels, greater than 0.
    """

    needs = frozenset({"jacobian"})
    higher_is_better = False
    share_parts = ("",)

    def __init__(self, smoothing: Annotated[float, Field(gt=0)] = 1.0) -> None:
        self.smoothing = smoothing

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with more than 2304 values."""
        check_eigenvectors(shape, "contour-anisotropy")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the value for every image at every noise level; no score without a Jacobian or for a flat image."""
        self.check(evaluation.shape, evaluation.sigmas)
        along, weight = contours(evaluation.clean.double(), self.smoothing)

        def parts(sigma: float, eigenvalues: Tensor, vectors: Tensor) -> dict[str, Tensor]:
            weights = leading_eigenvalues(eigenvalues.cpu())
            shares = [
                _share(rows[:count].reshape(count, *evaluation.shape), importance[:count], direction, pixel_weight)
                for rows, importance, count, direction, pixel_weight in zip(
                    vectors.cpu(), weights, (weights > 0).sum(1).tolist(), along, weight, strict=True
                )
            ]
            return {"": torch.stack(shares)}

        return score_eigenvectors(evaluation, parts)


def contours(images: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Return unit vectors (row, column) along contours, shape (N, 2, H, W), and pixel weights (N, H, W)."""
    down, right = gradients(images)
    tensor = torch.stack([(down * down).sum(1), (down * right).sum(1), (right * right).sum(1)], dim=1)
    rows, mixed, columns = _smooth(tensor, smoothing).unbind(1)
    # Angle between the row axis and the direction across the contour.
    angle = torch.atan2(2 * mixed, rows - columns) / 2
    difference = torch.sqrt((rows - columns).square() + 4 * mixed.square())
    return torch.stack([-torch.sin(angle), torch.cos(angle)], dim=1), difference


def gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return differences along rows and columns, central inside and one-sided at the border."""
    down, right = torch.gradient(images, dim=(-2, -1))
    return down, right


def _share(vectors: Tensor, importance: Tensor, along: Tensor, weight: Tensor) -> Tensor:
    down, right = gradients(vectors)
    derivative = down * along[0] + right * along[1]
    energy = (down.square() + right.square()).sum(1)
    # Exclude the border, where one-sided differences have four times the variance.
    weight = functional.pad(weight[1:-1, 1:-1], (1, 1, 1, 1))
    total = (importance[:, None, None] * weight * energy).sum()
    return (importance[:, None, None] * weight * derivative.square().sum(1)).sum() / total


def _smooth(fields: Tensor, deviation: float) -> Tensor:
    reach = max(1, round(3 * deviation))
    offsets = torch.arange(-reach, reach + 1, dtype=fields.dtype, device=fields.device)
    kernel = torch.exp(-offsets.square() / (2 * deviation**2))
    kernel = kernel / kernel.sum()
    channels = fields.shape[1]
    padded = functional.pad(fields, (reach,) * 4, mode="replicate")
    rows = functional.conv2d(padded, kernel[:, None].expand(channels, 1, -1, 1), groups=channels)
    return functional.conv2d(rows, kernel.expand(channels, 1, 1, -1), groups=channels)
