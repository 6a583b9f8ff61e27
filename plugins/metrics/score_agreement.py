"""Agreement of the scores of two denoisers trained on different images."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation

from .._papers import KADKHODAIE_2024, MIYASAWA_1961


class ScoreAgreement(Metric):
    """Cosine between the scores of two denoisers trained on different images.

    The score of the density that a denoiser f models is (f(y) - y) / sigma^2 (Miyasawa 1961; Kadkhodaie 2024, equation
    3). The scores of any two denoisers are similar, since both point from the noisy image to the clean image. Their
    cosine is therefore near 1 even for clearly different functions.

    Part: ``errors``, the cosine between the errors f(y) - x, which contain only the noise that both denoisers fail to
    remove: 0 for independent errors, 1 for the same function.
    """

    citation = (MIYASAWA_1961, KADKHODAIE_2024)
    titles: ClassVar[dict[str, str]] = {"": "cosine of scores", "errors": "cosine of errors"}
    needs = frozenset({"partner"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the cosines for every image at every noise level."""
        partner = evaluation.partner
        if partner is None:
            return Scores([])
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            noisy = evaluation.noisy(sigma)
            denoised, other = evaluation.denoised(sigma), partner.denoised(sigma)
            values["", sigma] = cosine(denoised - noisy, other - noisy)
            values["errors", sigma] = cosine(denoised - evaluation.clean, other - evaluation.clean)
        return Scores.parts(values)


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosines between pairs of images, shape (N,), float64; NaN if an image is 0."""
    left, right = first.double().flatten(1), second.double().flatten(1)
    lengths = (left.square().sum(1) * right.square().sum(1)).sqrt()
    return torch.where(lengths > 0, (left * right).sum(1) / lengths, torch.nan)
