"""Whether samples are nearer to the half of the training images that their network learned from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import nearest, own_set, without_shared

from .._papers import MEEHAN_2020
from ._sampled import placed, training_images


class OwnHalf(Metric):
    """Share of samples whose nearest training image is in the half that their network learned from: 1/2 by chance.

    Two networks learned from halves A and B of the training set, equally many. The value, called pi, is the mean of the
    share of A's samples whose nearest image in A and B together is in A, and of B's likewise, from the same starting
    noises. For networks that do not depend on which half is theirs it is 1/2 exactly, whatever the images are, with no
    threshold to choose and nothing to calibrate; 1 for copies. The share of one half alone is not 1/2: one half may be
    nearer to everything. Images that are in both halves are left out.

    Parts: ``null``, 1/2; ``c-t``, whether samples are nearer to their own half than test images are: the statistic of
    Mann and Whitney of the two sets of distances, in standard deviations (Meehan, Chaudhuri, Dasgupta 2020, without
    cells). Its mean over samples is about 0 for fresh images, below -3 for copies, above 3 for samples unlike any
    training image.
    """

    citation = MEEHAN_2020
    titles: ClassVar[Mapping[str, str]] = {
        "": "π: samples nearest to their own half",
        "c-t": "C_T (standard deviations)",
    }
    nulls: ClassVar[Mapping[str, str]] = {"": "null"}
    higher_is_better = False
    needs = frozenset({"partner", "samples", "test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the value of every starting noise from which both converged, and the parts."""
        partner = evaluation.partner
        if partner is None or evaluation.learned_from is None or partner.learned_from is None:
            return Scores([])
        both = evaluation.samples.converged & partner.samples.converged
        places, count = both.nonzero()[:, 0], len(both)
        own, other = without_shared(training_images(evaluation), training_images(partner))
        if not len(places) or not len(own):
            return Scores([])
        one, another = evaluation.samples.images[places], partner.samples.images[places]
        parts = {
            "": (own_set(one, own, other) + own_set(another, other, own)) / 2,
            "null": torch.full((len(places),), 0.5),
            "c-t": (nearness(one, own, evaluation.clean) + nearness(another, other, evaluation.clean)) / 2,
        }
        return Scores.of_samples({part: placed(value, places, count) for part, value in parts.items()})


def nearness(samples: Tensor, images: Tensor, fresh: Tensor) -> Tensor:
    """Return contributions of samples, shape (M,), to a standardized rank sum of distances to images, their mean."""
    mine, others = (nearest(some, images).values[:, 0] for some in (samples, fresh))
    # The share of fresh images that are nearer than a sample, ties by half.
    below = (others[None] < mine[:, None]).double() + 0.5 * (others[None] == mine[:, None]).double()
    count, against = len(mine), len(others)
    deviation = math.sqrt(count * against * (count + against + 1) / 12)
    return (below.mean(1) - 0.5) * count * against / deviation
