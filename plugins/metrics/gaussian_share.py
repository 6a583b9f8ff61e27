"""How much of a denoiser's score is that of a Gaussian."""

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
    """Share of the denoiser's score that is the score of a Gaussian: 1 - E|s - s_G|^2 / E|s|^2.

    s = (f(y) - y) / sigma^2 is the denoiser's, and s_G that of the Gaussian with mean and covariance of the images that
    it learned from, with noise: that of the best linear denoiser (``wiener-linear``). At high noise levels networks
    have almost no other (Wang & Vastola 2024).

    Parts: ``null``, the share of a score that points to the mean image m alone, (m - y) / sigma^2, which at high noise
    levels is large too; ``size``, |s|^2, and ``explained`` and ``explained-by-mean``, what is left of it when
    |s - s_G|^2 or |s - (m - y) / sigma^2|^2 is taken away: each per pixel and times sigma^2. Boards have the shares, as
    ratios of means.

    Parameters
    ----------
    images
        Most training images to take mean and covariance from.
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
        """Raise ``ValueError`` for images of too many values for a covariance."""
        WienerLinear(self.images).check_shape(shape)

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the parts of every image at every noise level; none on images of no dataset."""
        learned_from = evaluation.learned_from
        if learned_from is None and evaluation.dataset is not None:
            # From a stream, of which these are the first.
            learned_from = TrainingData(evaluation.dataset)
        if learned_from is None:
            return Scores([])
        gaussian = WienerLinear(self.images)
        gaussian.fit(learned_from)
        mean, other = learned_from.training(self.images).double().mean(0), evaluation.along(gaussian)
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            noisy, denoised = evaluation.noisy(sigma).double(), evaluation.denoised(sigma).double()
            size = _energy(denoised - noisy, sigma)
            values["size", sigma] = size
            values["explained", sigma] = size - _energy(denoised - other.denoised(sigma).double(), sigma)
            values["explained-by-mean", sigma] = size - _energy(denoised - mean, sigma)
        return Scores.parts(values)


def _energy(difference: Tensor, sigma: float) -> Tensor:
    return difference.square().flatten(1).mean(1) / sigma**2
