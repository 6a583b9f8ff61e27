"""Fraction of samples that are copies of training images."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import MEMORIZED, affine_ratios, memorization_ratios, nearest

from .._papers import YOON_2023
from ._sampled import scatter, training_images


class Memorization(Metric):
    """Memorization ratio: fraction of samples that are three times nearer to a training image than to any other.

    A sample s is memorized if |s - x_1| / |s - x_2| < 1/3 for its nearest and second nearest training images (Yoon et
    al. 2023). With a single training image, x_2 is the constant image with the same mean.

    Parts: ``ratio``, the ratio of distances for each sample; ``affine``, the fraction of memorized samples if training
    images may change in brightness and contrast, as in images memorized by bias-free networks; ``duplicate``, the
    fraction of samples whose distance to the nearest training image is below the ``quantile`` of the distances of test
    images to their nearest training images.

    Parameters
    ----------
    quantile
        Fraction of test images that would count as near-duplicates, in (0, 1).
    """

    citation = YOON_2023
    titles: ClassVar[dict[str, str]] = {
        "": "memorized samples (share)",
        "affine": "memorized, up to brightness and contrast",
        "duplicate": "near-duplicates (share)",
    }
    higher_is_better = False
    share_parts = ("", "ratio", "affine", "duplicate")
    needs = frozenset({"samples", "test", "training"})

    def __init__(self, quantile: Annotated[float, Field(gt=0, lt=1)] = 0.01) -> None:
        self.quantile = quantile

    def score(self, evaluation: Evaluation) -> Scores:
        """Return 1 for memorized samples and 0 for other samples, and the parts."""
        indices, count = evaluation.samples.converged.nonzero()[:, 0], len(evaluation.samples)
        if not len(indices) or evaluation.learned_from is None:
            return Scores([])
        samples, training = evaluation.samples.images[indices], training_images(evaluation)
        neighbours = nearest(samples, training, 2)
        ratios = memorization_ratios(samples, training, neighbours)
        threshold = nearest(evaluation.clean, training).values[:, 0].quantile(self.quantile)
        parts = {
            "": ratios < MEMORIZED,
            "ratio": ratios,
            "affine": affine_ratios(samples, training) < MEMORIZED,
            "duplicate": neighbours.values[:, 0] < threshold,
        }
        return Scores.parts({part: scatter(value, indices, count) for part, value in parts.items()})
