"""Statistical differences between samples and real images, without pretrained networks."""

from __future__ import annotations

from typing import ClassVar

import torch

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import patch_distance, spectrum_distance

#: Side of the patches in pixels, limited by the image side.
PATCH = 7


class SampleQuality(Metric):
    """Root mean square difference in dB, over radial frequencies, between the power spectra of samples and test images.

    Parts: ``patches``, the sliced Wasserstein distance between 7x7 patches, after removing their means; ``null`` and
    ``patches-null``, both distances for the same number of validation images in place of samples, which show the effect
    of the number of samples.
    """

    positive_parts = ("", "patches", "null", "patches-null")
    unit = "dB"
    titles: ClassVar[dict[str, str]] = {"": "power spectrum distance (dB)", "patches": "patch distance (grey scale)"}
    nulls: ClassVar[dict[str, str]] = {"": "null", "patches": "patches-null"}
    higher_is_better = False
    needs = frozenset({"samples", "test"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return a single value for all samples, and its parts."""
        samples, real = evaluation.samples.images[evaluation.samples.converged], evaluation.clean
        if not len(samples):
            return Scores([])
        side = min(PATCH, *evaluation.shape[1:])
        parts = {"": spectrum_distance(samples, real), "patches": patch_distance(samples, real, side)}
        dataset = evaluation.dataset
        available = dataset.available("validation") if dataset is not None else 0
        if dataset is not None and available != 0:
            fresh = dataset.images("validation", len(samples) if available is None else min(available, len(samples)))
            parts |= {"null": spectrum_distance(fresh, real), "patches-null": patch_distance(fresh, real, side)}
        return Scores.parts({part: torch.tensor(value) for part, value in parts.items()})
