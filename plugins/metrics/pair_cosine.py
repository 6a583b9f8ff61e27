"""Similarity of the samples of denoisers trained on different images."""

from __future__ import annotations

from typing import ClassVar

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import nearest_by_cosine, pair_cosines

from .._papers import KADKHODAIE_2024
from ._sampled import scatter, training_images


class PairCosine(Metric):
    """Cosine between samples that two denoisers draw from the same noise, after removing the mean of each image.

    The denoisers are trained on halves of the training set that share no image. The cosine is near 1 if both model the
    same density (Kadkhodaie 2024, figure 2).

    Parts: ``raw``, the cosine without removing means; ``own``, the cosine after removing the mean test image, which
    ignores features that all images of the dataset share; ``null``, the cosine between samples from different noise.
    Arrays for figures: samples of both denoisers and their most similar training images.
    """

    citation = KADKHODAIE_2024
    titles: ClassVar[dict[str, str]] = {"": "cosine of paired samples", "own": "cosine of paired samples, mean removed"}
    nulls: ClassVar[dict[str, str]] = {"": "null"}
    needs = frozenset({"partner", "samples", "test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the cosine and the parts for every pair of converged samples."""
        partner = evaluation.partner
        if partner is None or evaluation.learned_from is None:
            return Scores([])
        converged = evaluation.samples.converged & partner.samples.converged
        indices, count = converged.nonzero()[:, 0], len(converged)
        if not len(indices):
            return Scores([])
        samples, others = evaluation.samples.images[indices], partner.samples.images[indices]
        training, partner_training = training_images(evaluation), training_images(partner)
        # Removing the mean of two training images would make copies of them point in opposite directions.
        mean_image = evaluation.clean.mean(0)
        parts = {
            "": pair_cosines(samples, others),
            "raw": pair_cosines(samples, others, centred=False),
            "own": pair_cosines(samples, others, centred=False, origin=mean_image),
        }
        if len(indices) > 1:
            parts["null"] = pair_cosines(samples, others.roll(-1, 0))
        closest = nearest_by_cosine(samples, training)
        partner_closest = nearest_by_cosine(others, partner_training)
        arrays = {
            "samples": samples,
            "partner_samples": others,
            "closest": training[closest.indices[:, 0]],
            "partner_closest": partner_training[partner_closest.indices[:, 0]],
            "pair_cosine": parts[""],
            "closest_cosine": closest.values[:, 0],
            "partner_closest_cosine": partner_closest.values[:, 0],
        }
        return Scores.parts({part: scatter(value, indices, count) for part, value in parts.items()}, arrays)
