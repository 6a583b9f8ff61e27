"""Whether networks begin to copy their training images before their test loss is least."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import own_set, simultaneous_lower, without_shared

from ._along_training import pairs_along
from ._sampled import training_images


class BiasedGeneralization(Metric):
    """Octaves of training by which samples favour the own half before the test loss is least.

    Networks on the two halves of the training set are followed along their training. Their test loss is the mean of
    |f(y) - x|^2 / (d sigma^2) over images, noise levels and the two. At each snapshot both draw samples from the same
    noises, whose share that is nearest to their own half, pi of ``own-half``, is 1/2 for networks that do not depend on
    which half is theirs. Its onset is the first snapshot from which on pi stays above 1/2: from there all lower ends of
    a simultaneous 95 % interval over starting noises are. An onset while the test loss still falls is biased
    generalization (arXiv 2603.03469): what is learned last is the network's own training set.

    The value is log2 of the ratio of the two numbers of steps, above 0 for biased generalization; none where samples
    never favour their half.

    Parts: ``loss-step`` and ``onset-step``, the numbers of steps; ``last``, pi at the end. The whole course is kept for
    figures: ``steps``, ``loss``, ``pi`` and its lower end ``pi_low``, and ``disagreement``, the mean of
    |f_A(y) - f_B(y)|^2 / (d sigma^2).
    """

    unit = "octaves"
    titles: ClassVar[Mapping[str, str]] = {"": "lead of copying (octaves)", "last": "π at the end of training"}
    needs = frozenset({"partner", "samples", "snapshots", "test", "training"})
    higher_is_better = False

    def score(self, evaluation: Evaluation) -> Scores:
        """Return one value over all images, noise levels and starting noises, and its parts."""
        partner = evaluation.partner
        if partner is None or not (evaluation.learned_from and partner.learned_from and evaluation.snapshots):
            return Scores([])
        halves = without_shared(training_images(evaluation), training_images(partner))
        steps, losses, shares = [], [], []
        for step, load, load_other in pairs_along(evaluation, partner):
            one, other = evaluation.along(load()), partner.along(load_other())
            steps.append(step)
            losses.append([_means(one, other, sigma) for sigma in evaluation.sigmas])
            shares.append(_own_halves(one, other, *halves))
        # Over noise levels: shape (steps, 2).
        loss, disagreement = torch.tensor(losses, dtype=torch.float64).mean(1).unbind(1)
        pi = torch.stack(shares)
        low = simultaneous_lower(pi)
        best, onset = steps[int(loss.argmin())], _onset(low > 0.5)
        values = {"loss-step": float(best), "last": float(pi[-1].nanmean())}
        if onset is not None:
            values |= {"": math.log2(best / steps[onset]), "onset-step": float(steps[onset])}
        arrays = {
            "steps": torch.tensor(steps),
            "loss": loss,
            "disagreement": disagreement,
            "pi": pi.nanmean(1),
            "pi_low": low,
        }
        return Scores.of_samples({part: torch.tensor(value) for part, value in values.items()}, arrays)


def _own_halves(one: Evaluation, other: Evaluation, own: Tensor, others: Tensor) -> Tensor:
    """Return pi of each starting noise, shape (N,); NaN where one of the two samples did not converge."""
    both = one.samples.converged & other.samples.converged
    found = torch.full((len(both),), torch.nan, dtype=torch.float64)
    places = both.nonzero()[:, 0]
    if len(places) and len(own):
        first, second = one.samples.images[places], other.samples.images[places]
        found[places] = (own_set(first, own, others) + own_set(second, others, own)) / 2
    return found


def _onset(above: Tensor) -> int | None:
    """Return the first place from which on all are true; ``None`` where the last is not."""
    below = (~above).nonzero()[:, 0]
    place = 0 if not len(below) else int(below[-1]) + 1
    return place if place < len(above) else None


def _means(one: Evaluation, other: Evaluation, sigma: float) -> tuple[float, float]:
    """Return the loss and the disagreement of two networks at a noise level, over sigma^2."""
    first, second = one.denoised(sigma).double(), other.denoised(sigma).double()

    def over(difference: Tensor) -> float:
        return float(difference.square().mean() / sigma**2)

    return (over(first - one.clean) + over(second - other.clean)) / 2, over(first - second)
