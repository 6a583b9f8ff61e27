"""Whether two networks agree best before they are best."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation


class BiasedGeneralization(Metric):
    """Octaves of training by which two networks on different images agree best before their test loss is least.

    Networks on the two halves of the training set are followed along their training. Their test loss is the mean of
    |f(y) - x|^2 / (d sigma^2) over images, noise levels and the two; their disagreement that of
    |f_A(y) - f_B(y)|^2 / (d sigma^2). Where the two part while the loss still falls, what is learned last is the
    network's own training set: biased generalization (arXiv 2603.03469). Networks that start from the same weights
    agree before they have learned anything, so that only snapshots count whose loss is within ``within`` of the least
    and at least halfway there, in logarithms, from that of the first snapshot.

    The value is log2 of the ratio of the two numbers of steps: 0 where both are best at once.

    Parts: ``loss-step`` and ``agreement-step``, the numbers of steps. The whole course is kept for figures.

    Parameters
    ----------
    within
        Snapshots of more than this factor times the least loss never count.
    """

    unit = "octaves"
    titles: ClassVar[dict[str, str]] = {"": "lead of agreement (octaves)"}
    needs = frozenset({"partner", "snapshots", "test"})
    higher_is_better = False

    def __init__(self, within: Annotated[float, Field(gt=1)] = 2.0) -> None:
        self.within = within

    def score(self, evaluation: Evaluation) -> Scores:
        """Return one value over all images and noise levels, and its parts."""
        partner = evaluation.partner
        if partner is None or not evaluation.snapshots:
            return Scores([])
        steps, rows = [], []
        for (step, load), (other_step, load_other) in zip(evaluation.snapshots, partner.snapshots, strict=True):
            if step != other_step:
                raise ValueError(f"snapshots of partners are at steps {step} and {other_step}, expected the same")
            one, other = evaluation.along(load()), partner.along(load_other())
            steps.append(step)
            rows.append([_means(one, other, sigma) for sigma in evaluation.sigmas])
        # Over noise levels: shape (steps, 2).
        course = torch.tensor(rows, dtype=torch.float64).mean(1)
        loss, disagreement = course.unbind(1)
        counts = loss <= torch.minimum(self.within * loss.min(), (loss[0] * loss.min()).sqrt())
        # Of a first snapshot that is the best, whatever rounding does to the root.
        counts[loss.argmin()] = True
        best = steps[int(loss.argmin())]
        agreed = steps[int(torch.where(counts, disagreement, torch.inf).argmin())]
        values = {"": math.log2(best / agreed), "loss-step": float(best), "agreement-step": float(agreed)}
        arrays = {"steps": torch.tensor(steps), "loss": loss, "disagreement": disagreement}
        return Scores.of_samples({part: torch.tensor(value) for part, value in values.items()}, arrays)


def _means(one: Evaluation, other: Evaluation, sigma: float) -> tuple[float, float]:
    """Return the loss and the disagreement of two networks at a noise level, over sigma^2."""
    first, second = one.denoised(sigma).double(), other.denoised(sigma).double()

    def over(difference: Tensor) -> float:
        return float(difference.square().mean() / sigma**2)

    return (over(first - one.clean) + over(second - other.clean)) / 2, over(first - second)
