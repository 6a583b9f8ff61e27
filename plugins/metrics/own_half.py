"""Preference of samples for the half of the training set on which their network was trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import nearest, nearest_is_own, remove_shared

from .._papers import MEEHAN_2020
from ._sampled import scatter, training_images


class OwnHalf(Metric):
    """Fraction of samples whose nearest training image is in the half on which their network was trained.

    Two networks are trained on halves A and B of the training set, of equal size. The value pi averages two fractions
    for the same starting noise: the fraction of samples of the network of A whose nearest image in A and B is in A, and
    the fraction of samples of the network of B whose nearest image is in B. The expectation is exactly 1/2 for networks
    that do not depend on their half, for any images, without thresholds or calibration. It is 1 for copies. The average
    over both halves is necessary, since one half may be nearer to all samples. Images in both halves are excluded.

    The value may be near 1/2 or below for copies that differ in brightness or contrast, as in images memorized by
    bias-free networks. If all samples are too bright, the nearest image is the brightest image of both halves,
    regardless of the content of the sample. The part ``affine`` compares images up to brightness and contrast; its
    expectation is also 1/2 for networks that do not depend on their half.

    Parts: ``affine``; ``null``, 1/2; ``c-t``, the Mann-Whitney statistic that compares distances to the own half of
    samples and of test images, in standard deviations (Meehan, Chaudhuri & Dasgupta 2020, without cells). Its mean over
    samples is about 0 for new images, below -3 for copies, and above 3 for samples unlike any training image.
    """

    citation = MEEHAN_2020
    titles: ClassVar[Mapping[str, str]] = {
        "": "π: samples nearest to their own half",
        "affine": "π up to brightness and contrast",
        "c-t": "C_T (standard deviations)",
    }
    nulls: ClassVar[Mapping[str, str]] = {"": "null"}
    share_parts = ("", "affine")
    higher_is_better = False
    needs = frozenset({"partner", "samples", "test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the value and the parts for every starting noise for which both samples converged."""
        partner = evaluation.partner
        if partner is None or evaluation.learned_from is None or partner.learned_from is None:
            return Scores([])
        converged = evaluation.samples.converged & partner.samples.converged
        indices, count = converged.nonzero()[:, 0], len(converged)
        own_half, other_half = remove_shared(training_images(evaluation), training_images(partner))
        if not len(indices) or not len(own_half):
            return Scores([])
        samples, others = evaluation.samples.images[indices], partner.samples.images[indices]

        def share(affine: bool) -> Tensor:
            own = nearest_is_own(samples, own_half, other_half, affine)
            return (own + nearest_is_own(others, other_half, own_half, affine)) / 2

        parts = {
            "": share(affine=False),
            "affine": share(affine=True),
            "null": torch.full((len(indices),), 0.5),
            "c-t": (
                standardized_ranks(samples, own_half, evaluation.clean)
                + standardized_ranks(others, other_half, evaluation.clean)
            )
            / 2,
        }
        return Scores.parts({part: scatter(value, indices, count) for part, value in parts.items()})


def standardized_ranks(samples: Tensor, images: Tensor, fresh: Tensor) -> Tensor:
    """Return values of samples, shape (M,), whose mean is the standardized rank sum of distances to images."""
    distances, fresh_distances = (nearest(batch, images).values[:, 0] for batch in (samples, fresh))
    # Ties count as one half.
    is_nearer = (fresh_distances[None] < distances[:, None]).double()
    is_nearer += 0.5 * (fresh_distances[None] == distances[:, None]).double()
    count, fresh_count = len(distances), len(fresh_distances)
    deviation = math.sqrt(count * fresh_count * (count + fresh_count + 1) / 12)
    return (is_nearer.mean(1) - 0.5) * count * fresh_count / deviation
