"""Which share of samples are copies of training images."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import MEMORIZED, affine_ratios, memorization_ratios, nearest

from .._papers import YOON_2023
from ._sampled import placed, training_images


class Memorization(Metric):
    """Memorization ratio: share of samples that are three times nearer to one training image than to any other.

    |s - x_1| / |s - x_2| < 1/3 for a sample s, its nearest and second nearest training image (Yoon et al. 2023); with a
    single training image the second is that image without any structure, flat at its mean.

    Parts: ``ratio``, that ratio of each sample; ``affine``, the share where training images may have any grey level and
    contrast, which is how bias-free networks remember them; ``duplicate``, share of samples nearer to their nearest
    training image than all but a share ``quantile`` of test images are to theirs.

    Parameters
    ----------
    quantile
        Share of test images that would count as near-duplicates.
    """

    citation = YOON_2023
    titles: ClassVar[dict[str, str]] = {
        "": "memorized samples (share)",
        "affine": "memorized, up to brightness and contrast",
        "duplicate": "near-duplicates (share)",
    }
    higher_is_better = False
    needs = frozenset({"samples", "test", "training"})

    def __init__(self, quantile: Annotated[float, Field(gt=0, lt=1)] = 0.01) -> None:
        self.quantile = quantile

    def score(self, evaluation: Evaluation) -> Scores:
        """Return 1 or 0 for each sample, and the parts."""
        places, count = evaluation.samples.converged.nonzero()[:, 0], len(evaluation.samples)
        if not len(places) or evaluation.learned_from is None:
            return Scores([])
        samples, images = evaluation.samples.images[places], training_images(evaluation)
        found = nearest(samples, images, 2)
        ratios = memorization_ratios(samples, images, found)
        fresh = nearest(evaluation.clean, images).values[:, 0].quantile(self.quantile)
        parts = {
            "": ratios < MEMORIZED,
            "ratio": ratios,
            "affine": affine_ratios(samples, images) < MEMORIZED,
            "duplicate": found.values[:, 0] < fresh,
        }
        return Scores.of_samples({part: placed(value, places, count) for part, value in parts.items()})
