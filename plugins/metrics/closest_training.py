"""Similarity of samples to the training images of the denoiser."""

from __future__ import annotations

from typing import ClassVar

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import nearest, nearest_by_cosine

from .._papers import KADKHODAIE_2024
from ._sampled import scatter, training_images


class ClosestTraining(Metric):
    """Cosine of each sample with the most similar training image, after removing the mean of each image.

    The value is 1 for a copy (Kadkhodaie et al. 2024, figure 2). At most 100,000 training images are compared. Large
    training sets contain an image similar to any sample, so compare the value with the part ``fresh``.

    Parts: ``fresh``, the cosine for test images instead of samples; ``raw``, the cosine without removing means;
    ``distance``, the root mean square distance to the nearest training image. Arrays for figures: samples and their
    most similar training images.
    """

    positive_parts = ("distance",)
    citation = KADKHODAIE_2024
    titles: ClassVar[dict[str, str]] = {"": "cosine, closest training image"}
    nulls: ClassVar[dict[str, str]] = {"": "fresh"}
    higher_is_better = False
    needs = frozenset({"samples", "test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the cosine and the parts for every sample."""
        indices, count = evaluation.samples.converged.nonzero()[:, 0], len(evaluation.samples)
        if not len(indices) or evaluation.learned_from is None:
            return Scores([])
        samples, training = evaluation.samples.images[indices], training_images(evaluation)
        closest = nearest_by_cosine(samples, training)
        fresh = evaluation.clean[:count]
        values = {
            "": scatter(closest.values[:, 0], indices, count),
            "raw": scatter(nearest_by_cosine(samples, training, centred=False).values[:, 0], indices, count),
            "distance": scatter(nearest(samples, training).values[:, 0] / samples[0].numel() ** 0.5, indices, count),
            "fresh": nearest_by_cosine(fresh, training).values[:, 0],
        }
        arrays = {"samples": samples, "closest": training[closest.indices[:, 0]], "cosine": closest.values[:, 0]}
        return Scores.parts(values, arrays)
