"""Comparison of the filters of a denoiser with the filters of the optimal denoiser."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gahbench import Metric, OptimumError, Scores, Shape
from gahbench.evaluation import (
    ADVISED_IMAGES,
    MIN_IMAGES,
    Adaptation,
    Evaluation,
    StrengthRemoval,
    adaptation,
    align,
    changes,
    remove_strength,
)
from gahbench.jacobian import Sketch

from .._papers import KADKHODAIE_2024


class TruthComparison(Metric):
    """Base class of metrics that compare the filters of a denoiser with the filters of the optimal denoiser."""

    citation = KADKHODAIE_2024
    needs = frozenset({"jacobian"})
    min_images = MIN_IMAGES
    advised_images = ADVISED_IMAGES

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the value and its parts for every image at every noise level."""
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            filters = _compare(evaluation, sigma)
            if filters is None:
                continue
            count = len(evaluation.clean)
            values["left-out", sigma] = filters.remove.left_out(count)
            if len(filters.remove) >= MIN_IMAGES:
                parts = self.compare(evaluation, sigma, filters)
                values |= {(part, sigma): filters.remove.scatter(count, value) for part, value in parts.items()}
        return Scores.parts(values)

    @abstractmethod
    def compare(self, evaluation: Evaluation, sigma: float, filters: OptimalFilters) -> Mapping[str, Tensor | float]:
        """Return the value (part ``""``) and other parts, of shape (M,) for M compared images, or a number for all."""


@dataclass(frozen=True, eq=False)
class OptimalFilters:
    """Filters of the optimal denoiser at a noise level.

    ``truth`` is the adaptation of the filters after removing the strength of the denoiser, and ``own`` is their
    adaptation after removing their own strength. If only the strength of the filters changes with the image, as on
    ``rays``, there is no adaptation after removing their own strength.
    """

    remove: StrengthRemoval
    truth: Adaptation
    own: Adaptation

    @property
    def share(self) -> float:
        """The smaller share of the two adaptations."""
        return min(self.truth.share, self.own.share)

    def cosines(self, denoiser: Adaptation) -> tuple[Tensor, Tensor]:
        """Return the cosines with the denoiser's adaptation, and their standard errors, both of shape (M,)."""
        alignment = align(denoiser, self.truth)
        if self.own.adapts:
            return alignment.own, alignment.error
        unknown = torch.full_like(alignment.own, torch.nan)
        return unknown, unknown

    def directional(self, shape: Shape) -> OptimalFilters:
        """Return the parts that are not isotropic about each pixel."""
        return OptimalFilters(self.remove, self.truth.directional(shape), self.own.directional(shape))


def _compare(evaluation: Evaluation, sigma: float) -> OptimalFilters | None:
    """Return the optimal filters at a noise level; ``None`` if they are unknown, or equal for all images."""
    dataset = evaluation.dataset
    sketch, trace = evaluation.local_filters.sketch(sigma), evaluation.local_filters.trace(sigma)
    if dataset is None or sketch is None or trace is None:
        return None
    try:
        maps = dataset.optimal_filters(evaluation.noisy(sigma), sigma, evaluation.split, evaluation.start)
        if maps is None:
            return None
        filters = maps.sketch(None if sketch.exact else sketch.rows.shape[1])
        own_strength = maps.trace().value
    except OptimumError:
        # The optimum may be unavailable at some noise levels only.
        return None
    truth = Sketch(filters.rows.cpu(), filters.exact)
    if not changes(truth):
        return None
    # A constant filter has the value 0 at any strength.
    remove = remove_strength(trace.value if changes(sketch) else torch.ones_like(trace.value))
    return OptimalFilters(remove, adaptation(truth, remove), adaptation(truth, remove_strength(own_strength)))
