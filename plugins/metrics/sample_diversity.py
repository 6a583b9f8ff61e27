"""Diversity of samples."""

from __future__ import annotations

from typing import ClassVar

import torch

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import relative_spread, vendi_score

from .._papers import FRIEDMAN_2023


class SampleDiversity(Metric):
    """Root mean square distance between samples, divided by the distance between test images; 1 for equal diversity.

    Part: ``vendi``, the effective number of different samples (Friedman & Dieng 2023), relative to the effective number
    of as many test images, after removing the mean test image.
    """

    positive_parts = ("", "vendi")
    citation = FRIEDMAN_2023
    titles: ClassVar[dict[str, str]] = {"": "spread of samples (relative)", "vendi": "different samples (relative)"}
    needs = frozenset({"samples", "test"})
    min_images = 2

    def score(self, evaluation: Evaluation) -> Scores:
        """Return a single value for all samples, and its part; no scores with fewer than two converged samples."""
        samples = evaluation.samples.images[evaluation.samples.converged]
        count = min(len(samples), len(evaluation.clean))
        if count < 2:
            return Scores([])
        mean = evaluation.clean.mean(0)
        vendi, fresh = (
            vendi_score(images[:count], centred=False, origin=mean) for images in (samples, evaluation.clean)
        )
        parts = {"": relative_spread(samples, evaluation.clean), "vendi": vendi / fresh}
        return Scores.parts({part: torch.tensor(value) for part, value in parts.items()})
