"""Thresholding at a multiple of the noise level, which may be tuned."""

from __future__ import annotations

import math

from torch import Tensor

from gahbench import Basis, TrainingData, Truth

from ._rules import Rule
from ._single_threshold import SingleThreshold
from ._tuned import Tuned


class TunedThreshold(SingleThreshold, Tuned):
    """A practical reference that thresholds all details at k sigma."""

    number = "k"
    limits = (0.25, 16.0)
    # The number of false alarms changes fast with the threshold.
    refinements = (6, 12)

    def __init__(self, basis: Basis, rule: Rule, k: float | None, images: int) -> None:
        if k is not None and not 0 < k < math.inf:
            raise ValueError(f"k={k}: accepted are numbers above 0, or null to tune it")
        SingleThreshold.__init__(self, basis, rule)
        Tuned.__init__(self, k, images)

    def fit(self, examples: TrainingData) -> None:
        """Fit the basis, and keep the examples for when k must be tuned."""
        SingleThreshold.fit(self, examples)
        Tuned.fit(self, examples)

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the basis, and the tuned values."""
        return self._notes + self.tuned()

    def multiple(self, details: int, sigma: float) -> float:
        """Return k, tuned if need be."""
        return self.value(sigma)

    def filtered(self, noisy: Tensor, sigma: float, value: float) -> Tensor:
        """Return the images denoised with another k, shape (N, C, H, W)."""
        return TunedThreshold(self.basis, self.rule, value, self._max_images).denoise(noisy, sigma, Truth(noisy))

    def guess(self, sigma: float) -> float:
        """Return the usual k: 3 for hard and 1.5 for soft thresholding."""
        return 3.0 if self.rule == "hard" else 1.5
