"""Training steps after which a network generalizes, and after which it memorizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from gahbench import Metric, Scores
from gahbench.evaluation import Denoiser, Evaluation

from .._papers import BONNAIRE_2025
from ._along_training import crossing_step, paired_snapshots, snapshot_spacing


class TrainingTimes(Metric):
    """Octaves of training between generalization and memorization.

    Two networks are trained on halves A and B of the training set, of equal size. Their loss is the mean of
    |f(y) - x|^2 / (d sigma^2) over images, noise levels and both networks. The generalization time tau_gen is the first
    step at which the test loss is within a fraction ``near`` of its minimum. The gap is the relative difference between
    the loss on the partner's half and on the own half. The memorization time tau_mem is the step from which the gap
    is at least ``gap``. All four pairs of a network and a half are measured, so the expected gap is 0 for networks that
    do not depend on their half, for any images. Both times are interpolated between snapshots, linearly in the
    logarithm of the step. Bonnaire et al. (NeurIPS 2025, arXiv 2505.17638) find that tau_mem is proportional to the
    number of training images and that tau_gen is constant; between the two times networks generalize.

    The value is log2(tau_mem / tau_gen). There is no value if networks were not trained until they memorized, which
    needs a number of steps proportional to the number of images (``steps: {per_image: ...}``).

    Parts: ``generalization`` and ``memorization``, tau_gen and tau_mem in steps; ``loss-step``, the step of the
    smallest test loss; ``gap``, the gap at the end of training; ``steps``, the number of training steps; ``spacing``,
    the largest ratio of the steps of successive snapshots after the tenth step, which should be below 1.3. Arrays for
    figures: ``steps``, ``loss`` and ``gap``. The step from which on samples favour the own half is the part
    ``onset-step`` of ``biased-generalization``.

    Parameters
    ----------
    near
        Tolerance of the test loss for tau_gen, as a fraction of its minimum, in (0, 1].
    gap
        Gap for tau_mem, as a fraction of the loss on the partner's half, in (0, 1).
    images
        Largest number of images of each half.
    """

    positive_parts = ("generalization", "memorization", "loss-step", "steps", "spacing")
    citation = BONNAIRE_2025
    unit = "octaves"
    titles: ClassVar[Mapping[str, str]] = {"generalization": "τ_gen (steps)", "memorization": "τ_mem (steps)"}
    needs = frozenset({"partner", "snapshots", "test", "training"})

    def __init__(
        self,
        near: Annotated[float, Field(gt=0, le=1)] = 0.05,
        gap: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        images: Annotated[int, Field(ge=1)] = 64,
    ) -> None:
        self.near, self.gap, self.images = near, gap, images

    def score(self, evaluation: Evaluation) -> Scores:
        """Return a single value over all images and noise levels, and its parts."""
        partner = evaluation.partner
        if partner is None or not (evaluation.learned_from and partner.learned_from and evaluation.snapshots):
            return Scores([])
        halves = evaluation.on_training(self.images), partner.on_training(self.images)
        steps, losses, gaps = [], [], []
        for step, load, load_other in paired_snapshots(evaluation, partner):
            first, second = load(), load_other()
            steps.append(step)
            losses.append((loss(evaluation, first) + loss(evaluation, second)) / 2)
            own_loss = loss(halves[0], first) + loss(halves[1], second)
            gaps.append(1 - own_loss / (loss(halves[1], first) + loss(halves[0], second)))
        test_losses, gap = torch.tensor(losses, dtype=torch.float64), torch.tensor(gaps, dtype=torch.float64)
        generalization = crossing_step(steps, test_losses, float(test_losses.min()) * (1 + self.near))
        memorization = crossing_step(steps, -gap, -self.gap, stays=True)
        values = {
            "generalization": generalization,
            "memorization": memorization,
            "": math.log2(memorization / generalization)
            if memorization is not None and generalization is not None
            else None,
            "loss-step": float(steps[int(test_losses.argmin())]),
            "gap": gaps[-1],
            "steps": float(steps[-1]),
            "spacing": snapshot_spacing(steps),
        }
        known = {part: torch.tensor(value) for part, value in values.items() if value is not None}
        return Scores.parts(known, {"steps": torch.tensor(steps), "loss": test_losses, "gap": gap})


def loss(evaluation: Evaluation, denoiser: Denoiser) -> float:
    """Return the mean of |f(y) - x|^2 / (d sigma^2) over the images and noise levels of an evaluation."""
    network_evaluation = evaluation.with_denoiser(denoiser)
    errors = [
        (network_evaluation.denoised(sigma).double() - network_evaluation.clean).square().mean() / sigma**2
        for sigma in evaluation.sigmas
    ]
    return float(torch.stack(errors).mean())
