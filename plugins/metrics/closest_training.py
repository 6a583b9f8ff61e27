"""Similarity of samples to training images of the denoiser."""

from __future__ import annotations

from typing import ClassVar

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import nearest, nearest_by_cosine

from .._papers import KADKHODAIE_2024
from ._sampled import placed, training_images


class ClosestTraining(Metric):
    """Cosine of each sample with the most similar training image, the mean of each image removed.

    As in figure 2 of Kadkhodaie et al. 2024: 1 for a copy. Among at most 100,000 training images. Large sets have
    similar images for everything, so that it is to be compared with ``fresh``.

    Parts: ``fresh``, the same cosine of test images; ``raw``, the cosine without removing means; ``distance``, the root
    mean square distance to the nearest training image. Samples and their most similar training images are kept for
    figures.
    """

    citation = KADKHODAIE_2024
    titles: ClassVar[dict[str, str]] = {"": "cosine, closest training image"}
    nulls: ClassVar[dict[str, str]] = {"": "fresh"}
    higher_is_better = False
    needs = frozenset({"samples", "test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the cosine of every sample, and the parts."""
        places, count = evaluation.samples.converged.nonzero()[:, 0], len(evaluation.samples)
        if not len(places) or evaluation.learned_from is None:
            return Scores([])
        samples, images = evaluation.samples.images[places], training_images(evaluation)
        found = nearest_by_cosine(samples, images)
        fresh = evaluation.clean[:count]
        values = {
            "": placed(found.values[:, 0], places, count),
            "raw": placed(nearest_by_cosine(samples, images, centred=False).values[:, 0], places, count),
            "distance": placed(nearest(samples, images).values[:, 0] / samples[0].numel() ** 0.5, places, count),
            "fresh": nearest_by_cosine(fresh, images).values[:, 0],
        }
        arrays = {"samples": samples, "closest": images[found.indices[:, 0]], "cosine": found.values[:, 0]}
        return Scores.of_samples(values, arrays)
