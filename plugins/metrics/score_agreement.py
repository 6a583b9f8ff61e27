"""Agreement of the scores of two denoisers that learned from different images."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation

from .._papers import KADKHODAIE_2024, MIYASAWA_1961


class ScoreAgreement(Metric):
    """Cosine of the scores of two denoisers that learned from different images.

    The score of the density that a denoiser models is (f(y) - y) / sigma^2 (Miyasawa 1961; Kadkhodaie 2024, equation
    2). The scores of any two denoisers that remove noise at all are much alike, since both point from the noise to
    the image: the cosine is near 1 long before the two are the same function.

    Part: ``errors``, the cosine of their errors f(y) - x, which have nothing of the noise in common but what both fail
    to remove: 0 for denoisers that fail each in its own way, 1 for the same function.
    """

    citation = (MIYASAWA_1961, KADKHODAIE_2024)
    titles: ClassVar[dict[str, str]] = {"": "cosine of scores", "errors": "cosine of errors"}
    needs = frozenset({"partner"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the cosines of every image at every noise level."""
        partner = evaluation.partner
        if partner is None:
            return Scores([])
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            noisy = evaluation.noisy(sigma)
            one, other = evaluation.denoised(sigma), partner.denoised(sigma)
            values["", sigma] = cosine(one - noisy, other - noisy)
            values["errors", sigma] = cosine(one - evaluation.clean, other - evaluation.clean)
        return Scores.parts(values)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Return the cosine of each two images, shape (N,), float64; not a number where one is 0."""
    left, right = one.double().flatten(1), other.double().flatten(1)
    lengths = (left.square().sum(1) * right.square().sum(1)).sqrt()
    return torch.where(lengths > 0, (left * right).sum(1) / lengths, torch.nan)
