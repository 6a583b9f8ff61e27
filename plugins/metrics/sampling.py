"""Whether images can be sampled from a denoiser at all."""

from __future__ import annotations

from typing import ClassVar

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation


class Sampled(Metric):
    """Share of samples for which the sampler converged: the noise fell as far as asked, in the steps that it had.

    Samples that did not converge, or diverged, take no part in other metrics of samples.

    Parts: ``steps``, how many it took; ``sigma``, the noise left before the last denoising, in units of the images.
    """

    titles: ClassVar[dict[str, str]] = {"": "converged samples (share)"}
    needs = frozenset({"samples", "test"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return 1 or 0 for each sample, and the parts."""
        drawn = evaluation.samples
        return Scores.of_samples({"": drawn.converged, "steps": drawn.steps, "sigma": drawn.sigma})
