"""Diversity of samples."""

from __future__ import annotations

from typing import ClassVar

import torch

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import relative_spread, vendi_score

from .._papers import FRIEDMAN_2023


class SampleDiversity(Metric):
    """Root mean square distance between samples, relative to that between test images: 1 for as diverse.

    Part: ``vendi``, the number of different samples, in effect (Friedman & Dieng 2023), relative to that of as many
    test images; the mean test image is removed first.
    """

    citation = FRIEDMAN_2023
    titles: ClassVar[dict[str, str]] = {"": "spread of samples (relative)", "vendi": "different samples (relative)"}
    needs = frozenset({"samples", "test"})
    min_images = 2

    def score(self, evaluation: Evaluation) -> Scores:
        """Return one value of all samples, and its part; none with fewer than two samples that converged."""
        samples = evaluation.samples.images[evaluation.samples.converged]
        count = min(len(samples), len(evaluation.clean))
        if count < 2:
            return Scores([])
        mean = evaluation.clean.mean(0)
        own, fresh = (vendi_score(images[:count], centred=False, origin=mean) for images in (samples, evaluation.clean))
        parts = {"": relative_spread(samples, evaluation.clean), "vendi": own / fresh}
        return Scores.of_samples({part: torch.tensor(value) for part, value in parts.items()})
