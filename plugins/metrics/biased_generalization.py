"""Time between the onset of copying training images and the minimum of the test loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import nearest_is_own, remove_shared, simultaneous_lower

from ._along_training import paired_snapshots
from ._sampled import training_images


class BiasedGeneralization(Metric):
    """Octaves of training from the onset of copying a network's own training half to the minimum of the test loss.

    The metric follows two networks during training, one on each half of the training set. Their test loss is the mean
    of |f(y) - x|^2 / (d sigma^2) over images, noise levels and both networks. At each snapshot both networks draw
    samples from the same starting noise. The fraction pi of samples nearest to the network's own half (``own-half``) is
    1/2 for networks that do not depend on their half. The onset is the first snapshot at and after which the lower
    limits of a simultaneous 95 % interval for pi, over starting noises, exceed 1/2. An onset while the test loss still
    falls is called biased generalization (arXiv 2603.03469): the network learns its own training set last.

    The value is log2(loss-step / onset-step), positive for biased generalization. There is no value if pi never stays
    above 1/2.

    Parts: ``loss-step``, the step of the smallest test loss; ``onset-step``; ``last``, pi at the end of training.
    Arrays for figures: ``steps``, ``loss``, ``pi`` and its lower limit ``pi_low``, and ``disagreement``, the mean of
    |f_A(y) - f_B(y)|^2 / (d sigma^2).
    """

    unit = "octaves"
    titles: ClassVar[Mapping[str, str]] = {"": "lead of copying (octaves)", "last": "π at the end of training"}
    share_parts = ("last",)
    positive_parts = ("loss-step", "onset-step")
    needs = frozenset({"partner", "samples", "snapshots", "test", "training"})
    higher_is_better = False

    def score(self, evaluation: Evaluation) -> Scores:
        """Return a single value over all images, noise levels and starting noises, and its parts."""
        partner = evaluation.partner
        if partner is None or not (evaluation.learned_from and partner.learned_from and evaluation.snapshots):
            return Scores([])
        halves = remove_shared(training_images(evaluation), training_images(partner))
        steps, losses, shares = [], [], []
        for step, load, load_other in paired_snapshots(evaluation, partner):
            first, second = evaluation.with_denoiser(load()), partner.with_denoiser(load_other())
            steps.append(step)
            losses.append([_loss_and_disagreement(first, second, sigma) for sigma in evaluation.sigmas])
            shares.append(_own_half_shares(first, second, *halves))
        # Average over noise levels: shape (steps, 2).
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
        return Scores.parts({part: torch.tensor(value) for part, value in values.items()}, arrays)


def _own_half_shares(first: Evaluation, second: Evaluation, first_half: Tensor, second_half: Tensor) -> Tensor:
    """Return pi for each starting noise, shape (N,), or NaN if one of the two samples did not converge."""
    converged = first.samples.converged & second.samples.converged
    shares = torch.full((len(converged),), torch.nan, dtype=torch.float64)
    indices = converged.nonzero()[:, 0]
    if len(indices) and len(first_half):
        samples, others = first.samples.images[indices], second.samples.images[indices]
        shares[indices] = (
            nearest_is_own(samples, first_half, second_half) + nearest_is_own(others, second_half, first_half)
        ) / 2
    return shares


def _onset(above: Tensor) -> int | None:
    """Return the first index from which all values are true, or ``None`` if the last value is false."""
    below = (~above).nonzero()[:, 0]
    index = 0 if not len(below) else int(below[-1]) + 1
    return index if index < len(above) else None


def _loss_and_disagreement(first: Evaluation, second: Evaluation, sigma: float) -> tuple[float, float]:
    """Return the loss and the disagreement of two networks at a noise level, divided by sigma^2."""
    denoised, other = first.denoised(sigma).double(), second.denoised(sigma).double()

    def mean_square(difference: Tensor) -> float:
        return float(difference.square().mean() / sigma**2)

    loss = (mean_square(denoised - first.clean) + mean_square(other - second.clean)) / 2
    return loss, mean_square(denoised - other)
