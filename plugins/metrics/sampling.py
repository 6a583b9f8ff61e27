"""Convergence of sampling."""

from __future__ import annotations

from typing import ClassVar

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation


class Sampled(Metric):
    """Fraction of samples that converged: the final noise level was reached within the maximum number of steps.

    Other metrics of samples ignore samples that did not converge.

    Parts: ``steps``, the number of steps; ``sigma``, the noise level before the last denoising, in units of grey
    values.
    """

    titles: ClassVar[dict[str, str]] = {"": "converged samples (share)"}
    share_parts = ("",)
    needs = frozenset({"samples", "test"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return 1 for converged samples and 0 for other samples, and the parts."""
        drawn = evaluation.samples
        return Scores.parts({"": drawn.converged, "steps": drawn.steps, "sigma": drawn.sigma})
