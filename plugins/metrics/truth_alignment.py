"""Alignment of a denoiser's filters with those of the best denoiser."""

from __future__ import annotations

from torch import Tensor

from gahbench import Metric, OptimumError, Scores
from gahbench.evaluation import MIN_IMAGES, Evaluation, align


class TruthAlignment(Metric):
    """Alignment of the denoiser's filters with those of the best denoiser that is known, as in ``alignment``.

    The best filter is the Jacobian of the posterior mean, Cov[x|y] / sigma^2 (Kadkhodaie 2024, equation 9), where the
    optimum is exact, and that of the genie where it is a bracket: on ``c-alpha`` the Wiener filter given the contour.
    On other families, and on Gaussian ones, whose best filter is the same for all images, there is no value.

    Parts: ``null``, ``retrieval`` and ``error`` as in ``alignment``.
    """

    needs = frozenset({"jacobian"})
    min_images = MIN_IMAGES

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the alignment of every image at every noise level, and its parts."""
        dataset = evaluation.dataset
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            sketch = evaluation.local.sketch(sigma)
            if dataset is None or sketch is None:
                continue
            try:
                best = dataset.optimal_filters(evaluation.noisy(sigma), sigma, evaluation.split, evaluation.start)
                filters = best and best.sketch(None if sketch.exact else sketch.rows.shape[1])
            except OptimumError:
                # At one noise level it may be beyond reach, and known at the others.
                continue
            found = align(sketch, filters) if filters else None
            if found is None:
                continue
            values |= {("", sigma): found.own, ("null", sigma): found.null, ("retrieval", sigma): found.retrieved}
            if not sketch.exact:
                values["error", sigma] = found.error
        return Scores.parts(values)
