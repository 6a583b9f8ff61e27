"""The gain in PSNR of a denoiser on the images that it learned from."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation

from .._papers import KADKHODAIE_2024
from .psnr import psnr_per_image


class GeneralizationGap(Metric):
    """Mean PSNR on the images that the denoiser learned from, less that on each test image (Kadkhodaie 2024, figure 1).

    As many training images as test images, or all if there are fewer. It is 0 for a denoiser that generalizes, and
    large for one that memorizes. Those that learn from no images are compared with the ``train`` split, where it is 0
    but for chance. Intervals are over the test images, given the training images.

    Part: ``train``, the mean PSNR on training images.
    """

    citation = KADKHODAIE_2024
    unit = "dB"
    titles: ClassVar[dict[str, str]] = {"": "train less test PSNR (dB)"}
    higher_is_better = False
    needs = frozenset({"test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the gap of every image at every noise level; none for what was trained on a stream."""
        if evaluation.learned_from is None:
            return Scores([])
        seen = evaluation.on_training(len(evaluation.clean))
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            test, train = psnr_per_image(evaluation, sigma), psnr_per_image(seen, sigma).mean()
            values["", sigma] = train - test
            values["train", sigma] = train.expand(len(test))
        return Scores.parts(values)
