"""Variance of a denoiser over training sets."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation

from .._papers import KADKHODAIE_2024

#: Mean squares below this are rounding in float32, and are given as this: -140 dB.
MIN_SQUARE = 1e-14


class ModelVariance(Metric):
    """Mean square difference of two denoisers that learned from different images, |f_A(y) - f_B(y)|^2 / d, in dB.

    The two halves of the training set share no image, and f_A and f_B see the same noisy one. Twice the variance over
    training sets: the model variance of Kadkhodaie et al. 2024, section 2, which tends to 0 as denoisers generalize.
    Means are of decibels, as those of PSNR are, and lower than decibels of the mean, which
    follow from ``square``; at least -140.

    Parts: ``relative``, in dB against the mean of the two squared errors: 3 dB or so for errors that have nothing in
    common, much less for nearly the same function; ``square``, the mean square itself.
    """

    citation = KADKHODAIE_2024
    unit = "dB"
    titles: ClassVar[dict[str, str]] = {"": "model variance (dB)", "relative": "model variance over error (dB)"}
    higher_is_better = False
    needs = frozenset({"partner"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the difference for every image at every noise level."""
        partner = evaluation.partner
        if partner is None:
            return Scores([])
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            one, other = evaluation.denoised(sigma).double(), partner.denoised(sigma).double()
            square = mean_square(one - other)
            error = (mean_square(one - evaluation.clean) + mean_square(other - evaluation.clean)) / 2
            values["", sigma] = decibels(square)
            values["relative", sigma] = decibels(square) - decibels(error)
            values["square", sigma] = square
        return Scores.parts(values)


def decibels(squares: Tensor) -> Tensor:
    """Return 10 log10 of mean squares, at least -140."""
    return 10 * squares.clamp_min(MIN_SQUARE).log10()


def mean_square(difference: Tensor) -> Tensor:
    """Return the mean square of each of the images (N, C, H, W), shape (N,)."""
    return difference.flatten(1).square().mean(1)
