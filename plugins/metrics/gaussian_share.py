"""Fraction of the score of a denoiser that is the score of a Gaussian."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from gahbench import Metric, Scores, Shape, TrainingData
from gahbench.evaluation import Evaluation

from .._papers import WANG_2024
from ..references.wiener_linear import WienerLinear


class GaussianShare(Metric):
    """Fraction of the denoiser's score that is the score of a Gaussian: 1 - E|s - s_G|^2 / E|s|^2.

    The score of the denoiser f is s = (f(y) - y) / sigma^2. The score s_G is the score of a noisy Gaussian with the
    mean and covariance of the training images, which is the score of the best affine denoiser (``wiener-linear``). At
    high noise levels the scores of networks are almost Gaussian (Wang & Vastola 2024).

    Parts: ``null``, the same fraction for the score (m - y) / sigma^2 towards the mean image m, which is also large at
    high noise levels; ``size``, |s|^2; ``explained``, |s|^2 - |s - s_G|^2; ``explained-by-mean``,
    |s|^2 - |s - (m - y) / sigma^2|^2. The last three are per pixel and multiplied by sigma^2. Boards show the fractions
    as ratios of means.

    Parameters
    ----------
    images
        Largest number of training images for the mean and covariance.
    """

    citation = WANG_2024
    needs = frozenset({"training"})
    higher_is_better = None
    titles: ClassVar[Mapping[str, str]] = {"": "Gaussian share of the score"}
    nulls: ClassVar[Mapping[str, str]] = {"": "null"}
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {"": ("explained", "size"), "null": ("explained-by-mean", "size")}

    def __init__(self, images: Annotated[int, Field(ge=2)] = 4096) -> None:
        self.images = images

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with too many values for a covariance."""
        WienerLinear(self.images).check_shape(shape)

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the parts for every image at every noise level; no scores for images without a dataset."""
        learned_from = evaluation.learned_from
        if learned_from is None and evaluation.dataset is not None:
            # The denoiser was trained on a stream of images; use its first images.
            learned_from = TrainingData(evaluation.dataset)
        if learned_from is None:
            return Scores([])
        gaussian = WienerLinear(self.images)
        gaussian.fit(learned_from)
        mean, gaussian_evaluation = (
            learned_from.training(self.images).double().mean(0),
            evaluation.with_denoiser(gaussian),
        )
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            noisy, denoised = evaluation.noisy(sigma).double(), evaluation.denoised(sigma).double()
            size = _energy(denoised - noisy, sigma)
            values["size", sigma] = size
            values["explained", sigma] = size - _energy(denoised - gaussian_evaluation.denoised(sigma).double(), sigma)
            values["explained-by-mean", sigma] = size - _energy(denoised - mean, sigma)
        return Scores.parts(values)


def _energy(difference: Tensor, sigma: float) -> Tensor:
    return difference.square().flatten(1).mean(1) / sigma**2
