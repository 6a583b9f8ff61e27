"""Fraction of the samples of a denoiser that a reference predicts."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Metric, Names, Reference, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import pair_cosines

from .._papers import KAMB_2025
from ._sampled import draw_from, scatter
from .distance import fit_on_same_images, refuse_oracles


class SamplePrediction(Metric):
    """Fraction of a sample that a reference predicts from the same noise: r^2 between the two images.

    The value is the squared correlation over pixels and channels, and 0 if the correlation is negative. The value does
    not depend on brightness and contrast. The reference is fitted to the training images of the denoiser, or to the
    first training images if its parameters limit their number, and sampled with the same settings.

    With ``local-score`` the value measures how far samples of a network are composed of training patches. Kamb &
    Ganguli, ICML 2025 (arXiv 2412.20292), report median r^2 of 0.94 to 0.96 between samples of purely convolutional
    networks and of their best score machine; their published evaluation script computes medians of the correlation.
    With ``empirical-bayes`` the value compares a sample with the training image to which the same noise leads.

    Part: ``null``, r^2 with a sample of the reference from different noise, which shows the similarity of all samples.
    Arrays for figures: samples and predictions.

    Parameters
    ----------
    to
        The reference, of kind ``classical``, ``trained`` or ``optimal``.
    max_samples
        Largest number of samples that are predicted, at least 2; ``null`` for all.
    """

    share_parts = ("", "null")
    citation = KAMB_2025
    unit = "r²"
    titles: ClassVar[dict[str, str]] = {"": "r² of samples, {to}"}
    nulls: ClassVar[dict[str, str]] = {"": "null"}
    needs = frozenset({"samples", "test", "training"})
    label_parameters = ("to",)

    def __init__(
        self,
        to: Annotated[Reference, Names("reference", default="local-score")],
        max_samples: Annotated[int, Field(ge=2)] | None = None,
    ) -> None:
        refuse_oracles(to)
        self.to = to
        self.max_samples = max_samples

    def score(self, evaluation: Evaluation) -> Scores:
        """Return r^2 and the part for every starting noise for which both samples converged."""
        reference = fit_on_same_images(self.to, evaluation)
        if reference is None:
            return Scores([])
        drawn = evaluation.samples
        count = min(len(drawn), self.max_samples or len(drawn))
        predicted = draw_from(reference, evaluation, evaluation.sampling.model_copy(update={"count": count}))
        indices = (drawn.converged[:count] & predicted.converged).nonzero()[:, 0]
        if not len(indices):
            return Scores([])
        samples, predictions = drawn.images[indices], predicted.images[indices]
        parts = {"": r_squared(samples, predictions)}
        if len(indices) > 1:
            parts["null"] = r_squared(samples, predictions.roll(-1, 0))
        values = {part: scatter(value, indices, len(drawn)) for part, value in parts.items()}
        arrays = {"indices": indices, "samples": samples, "predicted": predictions, "r2": parts[""]}
        return Scores.parts(values, arrays)


def r_squared(samples: Tensor, predicted: Tensor) -> Tensor:
    """Return r^2 of pairs of images (N, C, H, W), shape (N,), in [0, 1]; 0 if an image is constant."""
    correlation: Tensor = pair_cosines(samples, predicted)
    return torch.clamp(correlation, min=0).square()
