"""The filters of a denoiser and those that shrink in a basis, both without their strength: what alignment compares."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from gahbench import Basis
from gahbench.evaluation import (
    MIN_IMAGES,
    Adaptation,
    Evaluation,
    StrengthRemoval,
    adaptation,
    exchange_significance,
    remove_strength,
    retrieved,
)
from gahbench.jacobian import FilterFamily, Sketch

from ._shared_bases import filters_on


@dataclass(frozen=True, eq=False)
class ComparedFilters:
    """Filters of a denoiser at one noise level, beside those of one or two bases at the strength of each image."""

    remove: StrengthRemoval
    denoiser: Adaptation
    bases: tuple[Adaptation, ...]
    traces: Tensor
    families: tuple[FilterFamily, ...] = field(repr=False)

    @property
    def has_enough_images(self) -> bool:
        """Whether so many images are left that there is a score."""
        return len(self.remove) >= MIN_IMAGES

    def exchange(self) -> dict[str, Tensor | float]:
        """Return the parts ``retrieval`` and ``exchange``; none where images are too large or nothing adapts."""
        denoiser, places = self.denoiser, self.remove.places
        if not (denoiser.sketch.exact and denoiser.adapts):
            return {}
        table = self.families[0].exchanged(denoiser.sketch.rows.cpu(), self.traces[places], places)
        if table is None:
            return {}
        return {"retrieval": retrieved(table), "exchange": exchange_significance(table)}


def compare(evaluation: Evaluation, sigma: float, *bases: Basis) -> ComparedFilters:
    """Return the filters of the denoiser and of bases."""
    sketch, trace = evaluation.local.sketch(sigma), evaluation.local.trace(sigma)
    assert sketch is not None
    assert trace is not None
    families = tuple(family for basis in bases if (family := filters_on(basis, evaluation, sigma)) is not None)
    assert len(families) == len(bases)
    traces = trace.value.cpu()
    reached = torch.stack([family.reaches(traces) for family in families]).all(0)
    remove = remove_strength(traces, reached)
    probes = None if sketch.exact else sketch.rows.shape[1]
    of_bases = tuple(_basis(family, traces, probes, remove) for family in families)
    return ComparedFilters(remove, evaluation.local.adaptation(sigma, remove), of_bases, traces, families)


def _basis(family: FilterFamily, traces: Tensor, probes: int | None, remove: StrengthRemoval) -> Adaptation:
    found = family.at(traces).sketch(probes)
    return adaptation(Sketch(found.rows.cpu(), found.exact), remove)
