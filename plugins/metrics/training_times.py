"""After how many steps of training a network generalizes, and after how many it memorizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from pydantic import Field

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation

from .._papers import BONNAIRE_2025
from ._along_training import crossing, pairs_along, spacing

if TYPE_CHECKING:
    from gahbench.contracts.denoisers import Denoiser


class TrainingTimes(Metric):
    """Octaves of training between the step at which networks generalize and that at which they memorize.

    Two networks learned from halves A and B of the training set, equally many. Their loss is the mean of |f(y) - x|^2 /
    (d sigma^2) over images, noise levels and the two. tau_gen is the first step at which the test loss is within a
    share ``near`` of its lowest. tau_mem is the step from which on the loss on the images that a network learned from
    is below that on its partner's by a share ``gap`` of it: all four pairs of a network and a half are measured, so
    that both halves count alike, and networks that do not depend on which half is theirs have a gap of 0, but for
    chance, whatever the images are. Both are read between snapshots, linear in the logarithm of steps. Bonnaire et al.
    (NeurIPS 2025, arXiv 2505.17638) find tau_mem in proportion to the number of images, and tau_gen constant: in
    between networks generalize.

    The value is log2 tau_mem / tau_gen; none where networks were not trained until they memorized, which takes budgets
    that grow with the number of images (``steps: {per_image: ...}``).

    Parts: ``generalization`` and ``memorization``, the two numbers of steps; ``least``, the step of the lowest test
    loss; ``gap``, at the end; ``steps``, of the training; ``spacing``, the greatest ratio of the steps of successive
    snapshots after the tenth step, which should be below 1.3. The course is kept for figures: ``steps``, ``loss`` and
    ``gap``. The step from which on samples favour the own half, pi, is the part ``onset-step`` of
    ``biased-generalization``.

    Parameters
    ----------
    near
        Share of the lowest test loss.
    gap
        Share of the loss on the partner's images.
    images
        Most images of each half.
    """

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
        """Return one value over all images and noise levels, and its parts."""
        partner = evaluation.partner
        if partner is None or not (evaluation.learned_from and partner.learned_from and evaluation.snapshots):
            return Scores([])
        halves = evaluation.on_training(self.images), partner.on_training(self.images)
        steps, losses, gaps = [], [], []
        for step, load, load_other in pairs_along(evaluation, partner):
            one, other = load(), load_other()
            steps.append(step)
            losses.append((loss(evaluation, one) + loss(evaluation, other)) / 2)
            own = loss(halves[0], one) + loss(halves[1], other)
            gaps.append(1 - own / (loss(halves[1], one) + loss(halves[0], other)))
        course, gap = torch.tensor(losses, dtype=torch.float64), torch.tensor(gaps, dtype=torch.float64)
        gen = crossing(steps, course, float(course.min()) * (1 + self.near))
        mem = crossing(steps, -gap, -self.gap, stays=True)
        values = {
            "generalization": gen,
            "memorization": mem,
            "": math.log2(mem / gen) if mem is not None and gen is not None else None,
            "least": float(steps[int(course.argmin())]),
            "gap": gaps[-1],
            "steps": float(steps[-1]),
            "spacing": spacing(steps),
        }
        known = {part: torch.tensor(value) for part, value in values.items() if value is not None}
        return Scores.of_samples(known, {"steps": torch.tensor(steps), "loss": course, "gap": gap})


def loss(evaluation: Evaluation, denoiser: Denoiser) -> float:
    """Return the mean of |f(y) - x|^2 / (d sigma^2) over the images and noise levels of an evaluation."""
    found = evaluation.along(denoiser)
    errors = [(found.denoised(sigma).double() - found.clean).square().mean() / sigma**2 for sigma in evaluation.sigmas]
    return float(torch.stack(errors).mean())
