"""Difference in PSNR between training and test images."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation

from .._papers import KADKHODAIE_2024
from .psnr import psnr_per_image


class GeneralizationGap(Metric):
    """Mean PSNR on training images minus the PSNR on each test image (Kadkhodaie 2024, figure 1).

    The mean is over as many training images as test images, or over all training images if there are fewer. The value
    is 0 for a denoiser that generalizes, and large for a denoiser that memorizes. Denoisers that were not trained are
    evaluated on the ``train`` split, on which the expected value is 0. Intervals are over the test images, for fixed
    training images.

    Part: ``train``, the mean PSNR on training images.
    """

    citation = KADKHODAIE_2024
    unit = "dB"
    titles: ClassVar[dict[str, str]] = {"": "train minus test PSNR (dB)"}
    higher_is_better = False
    needs = frozenset({"test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the gap for every image and noise level; no scores for denoisers trained on a stream of images."""
        if evaluation.learned_from is None:
            return Scores([])
        training_evaluation = evaluation.on_training(len(evaluation.clean))
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            test, train = psnr_per_image(evaluation, sigma), psnr_per_image(training_evaluation, sigma).mean()
            values["", sigma] = train - test
            values["train", sigma] = train.expand(len(test))
        return Scores.parts(values)
