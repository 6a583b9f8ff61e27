"""Whether denoisers that learned from different images draw the same samples."""

from __future__ import annotations

from typing import ClassVar

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import nearest_by_cosine, pair_cosines

from .._papers import KADKHODAIE_2024
from ._sampled import placed, training_images


class PairCosine(Metric):
    """Cosine of the samples that two denoisers draw from the same noise, the mean of each image removed.

    The two learned from halves of the training set that share no image. It is near 1 where both model the same density
    (Kadkhodaie 2024, figure 2).

    Parts: ``raw``, without removing means; ``own``, with the mean test image removed instead, so that only what sets a
    sample apart from others of its family counts; ``null``, as the value itself, of one's sample with the
    other's next one, from other noise. Samples of both and their most similar training images are kept for figures.
    """

    citation = KADKHODAIE_2024
    titles: ClassVar[dict[str, str]] = {"": "cosine of paired samples", "own": "the same, mean image removed"}
    nulls: ClassVar[dict[str, str]] = {"": "null"}
    needs = frozenset({"partner", "samples", "test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the cosine of every pair in which both converged, and the parts."""
        partner = evaluation.partner
        if partner is None or evaluation.learned_from is None:
            return Scores([])
        both = evaluation.samples.converged & partner.samples.converged
        places, count = both.nonzero()[:, 0], len(both)
        if not len(places):
            return Scores([])
        one, other = evaluation.samples.images[places], partner.samples.images[places]
        seen, others_seen = training_images(evaluation), training_images(partner)
        # Not that of the training images: of two that each memorized one, the samples would be opposite by definition.
        middle = evaluation.clean.mean(0)
        parts = {
            "": pair_cosines(one, other),
            "raw": pair_cosines(one, other, centred=False),
            "own": pair_cosines(one, other, centred=False, origin=middle),
        }
        if len(places) > 1:
            parts["null"] = pair_cosines(one, other.roll(-1, 0))
        closest = nearest_by_cosine(one, seen)
        others_closest = nearest_by_cosine(other, others_seen)
        arrays = {
            "samples": one,
            "partner_samples": other,
            "closest": seen[closest.indices[:, 0]],
            "partner_closest": others_seen[others_closest.indices[:, 0]],
            "pair_cosine": parts[""],
            "closest_cosine": closest.values[:, 0],
            "partner_closest_cosine": others_closest.values[:, 0],
        }
        return Scores.of_samples({part: placed(value, places, count) for part, value in parts.items()}, arrays)
