"""Variance of a denoiser over training sets."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation

from .._papers import KADKHODAIE_2024

#: Lower bound of mean squares, -140 dB: smaller values are rounding errors of float32.
MIN_SQUARE = 1e-14


class ModelVariance(Metric):
    """Mean square difference of two denoisers trained on different images, |f_A(y) - f_B(y)|^2 / d, in dB.

    The denoisers f_A and f_B are trained on halves of the training set that share no image, and see the same noisy
    image y. The value is twice the variance over training sets, the model variance of Kadkhodaie et al. 2024 (section
    2), and tends to 0 (-inf dB) as denoisers generalize. Decibels are averaged, as for PSNR; their mean is below the
    mean square difference in decibels, which follows from the part ``square``. Values are at least -140 dB.

    Parts: ``relative``, the difference in dB relative to the mean squared error of both denoisers, about 3 dB for
    independent errors and much less for nearly equal functions; ``square``, the mean square difference.
    """

    positive_parts = ("square",)
    citation = KADKHODAIE_2024
    unit = "dB"
    titles: ClassVar[dict[str, str]] = {"": "model variance (dB)", "relative": "model variance over error (dB)"}
    higher_is_better = False
    needs = frozenset({"partner"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the difference and the parts for every image at every noise level."""
        partner = evaluation.partner
        if partner is None:
            return Scores([])
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            denoised, other = evaluation.denoised(sigma).double(), partner.denoised(sigma).double()
            square = mean_square(denoised - other)
            error = (mean_square(denoised - evaluation.clean) + mean_square(other - evaluation.clean)) / 2
            values["", sigma] = decibels(square)
            values["relative", sigma] = decibels(square) - decibels(error)
            values["square", sigma] = square
        return Scores.parts(values)


def decibels(squares: Tensor) -> Tensor:
    """Return 10 log10 of mean squares, at least -140."""
    return 10 * squares.clamp_min(MIN_SQUARE).log10()


def mean_square(difference: Tensor) -> Tensor:
    """Return the mean square of each image (N, C, H, W), shape (N,)."""
    return difference.flatten(1).square().mean(1)
