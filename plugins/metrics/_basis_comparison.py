"""Comparison of the filters of a denoiser with filters that shrink in a basis, after removing their strength."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, Metric, Names, Scores, Shape
from gahbench.evaluation import (
    ADVISED_IMAGES,
    MIN_IMAGES,
    Adaptation,
    Evaluation,
    StrengthRemoval,
    adaptation,
    align,
    changes,
    exchange_significance,
    is_own_geometry_closest,
    partial_cosine,
    remove_strength,
)
from gahbench.jacobian import FilterFamily, Sketch

from ._shared_bases import basis_on, filters_on


class BasisComparison(Metric):
    """Base class of metrics that compare the filters of a denoiser with filters of equal strength in a basis."""

    needs = frozenset({"jacobian"})
    label_parameters = ("basis",)
    min_images = MIN_IMAGES
    advised_images = ADVISED_IMAGES

    def __init__(
        self,
        basis: Annotated[Basis, Names("basis", default="graph-laplacian")],
        controlling_for: Annotated[Basis, Names("basis")] | None = None,
        ceiling_levels: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        self.basis = basis
        self.controlling_for = controlling_for
        self.ceiling_levels = ceiling_levels

    @property
    def bases(self) -> tuple[Basis, ...]:
        """The bases whose filters are compared."""
        return (self.basis,) if self.controlling_for is None else (self.basis, self.controlling_for)

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for image shapes for which a basis has no filters."""
        for basis in self.bases:
            basis.check_filters(shape)

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the values and parts for every image at every noise level."""
        values: dict[tuple[str, float], Tensor] = {}
        if any(basis_on(basis, evaluation.dataset) is None for basis in self.bases):
            return Scores([])
        count = len(evaluation.clean)
        for sigma in evaluation.sigmas:
            sketch = evaluation.local_filters.sketch(sigma)
            if sketch is None:
                continue
            if not changes(sketch):
                # A denoiser with a constant filter does not adapt, so that its value is 0 with every basis.
                values |= {(part, sigma): torch.zeros(count) for part in ("", "left-out")}
                continue
            filters = compare(evaluation, sigma, *self.bases)
            values["left-out", sigma] = filters.remove.left_out(count)
            if filters.has_enough_images:
                parts = self.compare(evaluation, sigma, filters)
                values |= {(part, sigma): filters.remove.scatter(count, value) for part, value in parts.items()}
        return Scores.parts(values)

    def has_ceiling(self, evaluation: Evaluation, sigma: float) -> bool:
        """Return whether the ceiling is requested and can be computed at a noise level."""
        return (
            among_lowest(sigma, evaluation, self.ceiling_levels)
            and evaluation.local_filters.maps(sigma, draw=1) is not None
        )

    @abstractmethod
    def compare(self, evaluation: Evaluation, sigma: float, filters: ComparedFilters) -> Mapping[str, Tensor | float]:
        """Return the value (part ``""``) and other parts, of shape (M,) for M compared images, or a number for all."""


def among_lowest(sigma: float, evaluation: Evaluation, count: int | None) -> bool:
    """Return whether a noise level is among the ``count`` lowest scored levels; ``None`` includes all levels."""
    return sigma in sorted(evaluation.sigmas)[:count]


@dataclass(frozen=True, eq=False)
class ComparedFilters:
    """Filters of a denoiser at a noise level, and filters of one or two bases with the same strength for each image."""

    remove: StrengthRemoval
    denoiser: Adaptation
    bases: tuple[Adaptation, ...]
    traces: Tensor
    families: tuple[FilterFamily, ...] = field(repr=False)

    @property
    def has_enough_images(self) -> bool:
        """Whether enough images remain for a score."""
        return len(self.remove) >= MIN_IMAGES

    def exchange(self) -> dict[str, Tensor | float]:
        """Return the parts ``retrieval`` and ``exchange``; no parts if images are too large or a family is constant."""
        denoiser, indices = self.denoiser, self.remove.indices
        if not (denoiser.sketch.exact and denoiser.adapts and self.bases[0].adapts):
            return {}
        table = self.families[0].pairwise_agreement(denoiser.sketch.rows.cpu(), self.traces[indices], indices)
        if table is None:
            return {}
        return {"retrieval": is_own_geometry_closest(table), "exchange": exchange_significance(table)}


def compute_partial(denoiser: Adaptation, basis: Adaptation, other: Adaptation) -> Tensor:
    """Return the partial cosine of a denoiser and a basis, controlling for another; NaN unless both bases adapt."""
    partial = partial_cosine(*(align(*pair).own for pair in ((denoiser, basis), (denoiser, other), (basis, other))))
    return partial if basis.adapts and other.adapts else torch.full_like(partial, torch.nan)


def compare(evaluation: Evaluation, sigma: float, *bases: Basis) -> ComparedFilters:
    """Compare the filters of the denoiser and of bases at a noise level."""
    sketch, trace = evaluation.local_filters.sketch(sigma), evaluation.local_filters.trace(sigma)
    assert sketch is not None
    assert trace is not None
    families = tuple(family for basis in bases if (family := filters_on(basis, evaluation, sigma)) is not None)
    assert len(families) == len(bases)
    traces = trace.value.cpu()
    is_reachable = torch.stack([family.reaches(traces) for family in families]).all(0)
    remove = remove_strength(traces, is_reachable)
    probes = None if sketch.exact else sketch.rows.shape[1]
    sketches = (family.at(traces).sketch(probes) for family in families)
    basis_adaptations = tuple(adaptation(Sketch(sketch.rows.cpu(), sketch.exact), remove) for sketch in sketches)
    return ComparedFilters(
        remove, evaluation.local_filters.adaptation(sigma, remove), basis_adaptations, traces, families
    )
