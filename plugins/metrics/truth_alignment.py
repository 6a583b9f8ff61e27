"""Alignment of a denoiser's filters with those of the best denoiser."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench import Metric, OptimumError, Scores
from gahbench.evaluation import MIN_IMAGES, Evaluation, adaptation, align, changes, remove_strength
from gahbench.jacobian import Sketch

from .._papers import KADKHODAIE_2024


class TruthAlignment(Metric):
    """Alignment of the denoiser's filters with those of the best denoiser that is known, as in ``alignment``.

    The best filter is the Jacobian of the posterior mean, Cov[x|y] / sigma^2 (Kadkhodaie 2024, equation 9), where the
    optimum is exact, and that of the genie where it is a bracket: on ``c-alpha`` the Wiener filter given the contour.
    Its strength is its own, so it is not matched; the regression on the strength of the denoiser takes strength out of
    both. On other families, and on Gaussian ones, whose best filter is the same for all images, there is no value.

    Parts: ``direction``, the same of the directional parts, as in ``direction``, for images of up to 2304 values;
    ``share``, ``left-out`` and ``error`` as in ``alignment``.
    """

    citation = KADKHODAIE_2024
    needs = frozenset({"jacobian"})
    min_images = MIN_IMAGES

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the alignment of every image at every noise level, and its parts."""
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            values |= {(part, sigma): value for part, value in _at(evaluation, sigma).items()}
        return Scores.parts(values)


def _at(evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
    dataset = evaluation.dataset
    sketch, trace = evaluation.local.sketch(sigma), evaluation.local.trace(sigma)
    if dataset is None or sketch is None or trace is None:
        return {}
    try:
        best = dataset.optimal_filters(evaluation.noisy(sigma), sigma, evaluation.split, evaluation.start)
        filters = best and best.sketch(None if sketch.exact else sketch.rows.shape[1])
    except OptimumError:
        # At one noise level it may be beyond reach, and known at the others.
        return {}
    if not filters:
        return {}
    best_filters = Sketch(filters.rows.cpu(), filters.exact)
    if not changes(best_filters):
        return {}
    # The same filter for all images scores 0 whatever its strength is.
    remove = remove_strength(trace.value if changes(sketch) else torch.ones_like(trace.value))
    count = len(sketch.rows)
    left_out = {"left-out": remove.left_out(count)}
    if len(remove) < MIN_IMAGES:
        return left_out
    denoiser, truth = evaluation.local.adaptation(sigma, remove), adaptation(best_filters, remove)
    found = align(denoiser, truth)
    parts: dict[str, Tensor | float] = {"": found.own, "share": denoiser.share}
    if sketch.exact:
        directional = evaluation.local.adaptation(sigma, remove, directional=True)
        parts["direction"] = align(directional, truth.directional(evaluation.shape)).own
    else:
        parts["error"] = found.error
    return left_out | {part: remove.among(count, value) for part, value in parts.items()}
