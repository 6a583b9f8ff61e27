"""The share of a denoiser's samples that a reference predicts."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Metric, Names, Reference, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import draw_samples, images_device, of_denoiser, pair_cosines

from .._papers import KAMB_2025
from ._sampled import placed
from .distance import check_uninformed, fitted_alike


class SamplePrediction(Metric):
    """Share of a sample that a reference predicts from the same noise: r^2 of the values of the two images.

    It is the squared correlation over pixels and channels, 0 where that is negative: what is predicted may have another
    grey level and another contrast. The reference learns from the images that the denoiser learned from, the first of
    them if its own parameters allow no more, and is sampled in the same way.

    With ``local-score`` it measures how much of a network's samples is training patches put together. Kamb & Ganguli,
    ICML 2025 (arXiv 2412.20292), report medians of 0.94 to 0.96 for their best machine and networks of convolutions
    alone, as r^2; the evaluation script that they published takes medians of the correlation itself. With
    ``empirical-bayes`` it measures the share of the training image that the same noise leads to.

    Part: ``null``, the same of another sample of the reference, from other noise: what is alike in all samples. Samples
    and predictions are stored for figures.

    Parameters
    ----------
    to
        The reference.
    max_samples
        How many samples are predicted at most, the first ones; ``null`` for all.
    """

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
        check_uninformed(to)
        self.to = to
        self.max_samples = max_samples

    def score(self, evaluation: Evaluation) -> Scores:
        """Return r^2 for every sample of which both converged, and the part."""
        reference = fitted_alike(self.to, evaluation)
        if reference is None:
            return Scores([])
        drawn = evaluation.samples
        count = min(len(drawn), self.max_samples or len(drawn))
        denoise = of_denoiser(reference, evaluation.shape, evaluation.dataset, evaluation.device)
        settings = evaluation.sampling.model_copy(update={"count": count})
        device = images_device(reference, evaluation.shape, evaluation.device)
        predicted = draw_samples(denoise, evaluation.shape, settings, device=device)
        places = (drawn.converged[:count] & predicted.converged).nonzero()[:, 0]
        if not len(places):
            return Scores([])
        samples, others = drawn.images[places], predicted.images[places]
        parts = {"": explained(samples, others)}
        if len(places) > 1:
            parts["null"] = explained(samples, others.roll(-1, 0))
        values = {part: placed(value, places, len(drawn)) for part, value in parts.items()}
        arrays = {"places": places, "samples": samples, "predicted": others, "r2": parts[""]}
        return Scores.of_samples(values, arrays)


def explained(samples: Tensor, predicted: Tensor) -> Tensor:
    """Return r^2 of pairs of images, shape (N, C, H, W) each: shape (N,), in [0, 1], 0 where one is constant."""
    correlation: Tensor = pair_cosines(samples, predicted)
    return torch.clamp(correlation, min=0).square()
