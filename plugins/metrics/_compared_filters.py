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
    """Filters of a denoiser at one noise level, beside those of one or two bases at the strength of each image.

    Parameters
    ----------
    remove
        Takes out the strength: of the images whose traces all of the bases reach.
    denoiser, bases
        What they do beyond it.
    traces
        Traces of the denoiser's filters, shape (N,).
    families
        Filters in the bases at any strength.
    """

    remove: StrengthRemoval
    denoiser: Adaptation
    bases: tuple[Adaptation, ...]
    traces: Tensor
    families: tuple[FilterFamily, ...] = field(repr=False)

    @property
    def has_enough_images(self) -> bool:
        """Whether so many images are left that there is a score."""
        return len(self.remove) >= MIN_IMAGES

    @property
    def left_out(self) -> Tensor:
        """1 for images whose strength the basis cannot match, or that the regression on strength cannot judge, (N,)."""
        found = torch.ones(len(self.traces), dtype=torch.float64)
        found[self.remove.places] = 0
        return found

    def on_all(self, values: Tensor | float) -> Tensor:
        """Return values of the images that are compared, shape (M,), or one for all, among all (N,), NaN elsewhere."""
        found = torch.full((len(self.traces),), torch.nan, dtype=torch.float64)
        found[self.remove.places] = torch.as_tensor(values, dtype=torch.float64)
        return found

    def exchange(self) -> dict[str, Tensor | float]:
        """Return the parts ``retrieval`` and ``exchange``; none where images are too large or nothing adapts."""
        denoiser, places = self.denoiser, self.remove.places
        if not (denoiser.sketch.exact and denoiser.adapts):
            return {}
        table = self.families[0].exchanged(denoiser.sketch.rows.cpu(), self.traces[places], places)
        if table is None:
            return {}
        return {"retrieval": retrieved(table), "exchange": exchange_significance(table)}


def compare(evaluation: Evaluation, sigma: float, *bases: Basis) -> ComparedFilters | None:
    """Return the filters of the denoiser and of bases; ``None`` where either has none."""
    sketch, trace = evaluation.local.sketch(sigma), evaluation.local.trace(sigma)
    if sketch is None or trace is None:
        return None
    families = [filters_on(basis, evaluation, sigma) for basis in bases]
    known = tuple(family for family in families if family is not None)
    if len(known) < len(families):
        return None
    traces = trace.value.cpu()
    reached = torch.stack([family.reaches(traces) for family in known]).all(0)
    remove = remove_strength(traces, reached)
    probes = None if sketch.exact else sketch.rows.shape[1]
    of_bases = tuple(_basis(family, traces, probes, remove) for family in known)
    return ComparedFilters(remove, evaluation.local.adaptation(sigma, remove), of_bases, traces, known)


def _basis(family: FilterFamily, traces: Tensor, probes: int | None, remove: StrengthRemoval) -> Adaptation:
    found = family.at(traces).sketch(probes)
    return adaptation(Sketch(found.rows.cpu(), found.exact), remove)
