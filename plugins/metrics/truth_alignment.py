"""Alignment of the filters of a denoiser with those of the optimal denoiser."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench import Metric, OptimumError, Scores
from gahbench.evaluation import MIN_IMAGES, Evaluation, adaptation, align, changes, remove_strength
from gahbench.jacobian import Sketch

from .._papers import KADKHODAIE_2024


class TruthAlignment(Metric):
    """Alignment of the denoiser's filters with those of the optimal denoiser, or of the genie, as in ``alignment``.

    If the optimum of the dataset is exact, the optimal filter is the Jacobian of the posterior mean, Cov[x|y] / sigma^2
    (Kadkhodaie 2024, equation 9). If the optimum is a bracket, the filter of the genie takes the place of the optimal
    filter; the genie is a denoiser with additional information, on ``c-alpha`` for example the Wiener filter given the
    contour. The strengths of the two filters are not matched; the regression on the denoiser's strength removes
    strength from both. There is no value on other datasets, or on Gaussian datasets, whose optimal filter is the same
    for all images.

    Parts: ``direction``, the alignment of the directional parts, for images of up to 2304 values; ``share``,
    ``left-out`` and ``error`` as in ``alignment``.
    """

    citation = KADKHODAIE_2024
    needs = frozenset({"jacobian"})
    min_images = MIN_IMAGES

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the alignment and its parts for every image at every noise level."""
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            values |= {(part, sigma): value for part, value in _parts(evaluation, sigma).items()}
        return Scores.parts(values)


def _parts(evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
    dataset = evaluation.dataset
    sketch, trace = evaluation.local_filters.sketch(sigma), evaluation.local_filters.trace(sigma)
    if dataset is None or sketch is None or trace is None:
        return {}
    try:
        optimal_maps = dataset.optimal_filters(evaluation.noisy(sigma), sigma, evaluation.split, evaluation.start)
        filters = optimal_maps and optimal_maps.sketch(None if sketch.exact else sketch.rows.shape[1])
    except OptimumError:
        # The optimum may be unavailable at some noise levels only.
        return {}
    if not filters:
        return {}
    best_filters = Sketch(filters.rows.cpu(), filters.exact)
    if not changes(best_filters):
        return {}
    # A constant filter has alignment 0 at any strength.
    remove = remove_strength(trace.value if changes(sketch) else torch.ones_like(trace.value))
    count = len(sketch.rows)
    left_out = {"left-out": remove.left_out(count)}
    if len(remove) < MIN_IMAGES:
        return left_out
    denoiser, truth = evaluation.local_filters.adaptation(sigma, remove), adaptation(best_filters, remove)
    alignment = align(denoiser, truth)
    parts: dict[str, Tensor | float] = {"": alignment.own, "share": denoiser.share}
    if sketch.exact:
        directional = evaluation.local_filters.adaptation(sigma, remove, directional=True)
        parts["direction"] = align(directional, truth.directional(evaluation.shape)).own
    else:
        parts["error"] = alignment.error
    return left_out | {part: remove.scatter(count, value) for part, value in parts.items()}
