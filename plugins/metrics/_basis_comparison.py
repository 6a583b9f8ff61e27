"""What metrics that compare a denoiser's filters with those in a basis share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, Metric, Names, Scores, Shape
from gahbench.evaluation import MIN_IMAGES, Evaluation, changes

from ._compared_filters import ComparedFilters, compare
from ._shared_bases import basis_on


class BasisComparison(Metric):
    """Base of metrics that compare the filters of a denoiser with those of equal strength in a basis."""

    needs = frozenset({"jacobian"})
    label_parameters = ("basis",)
    min_images = MIN_IMAGES

    def __init__(
        self,
        basis: Annotated[Basis, Names("basis", default="graph-laplacian")],
        given: Annotated[Basis, Names("basis")] | None = None,
        ceilings: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        self.basis = basis
        self.given = given
        self.ceilings = ceilings

    @property
    def bases(self) -> tuple[Basis, ...]:
        """The bases that filters are compared in."""
        return (self.basis,) if self.given is None else (self.basis, self.given)

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images of which a basis has no filters."""
        for basis in self.bases:
            basis.check_filters(shape)

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the value of every image at every noise level, and its parts."""
        values: dict[tuple[str, float], Tensor] = {}
        if any(basis_on(basis, evaluation.dataset) is None for basis in self.bases):
            return Scores([])
        count = len(evaluation.clean)
        for sigma in evaluation.sigmas:
            sketch = evaluation.local.sketch(sigma)
            if sketch is None:
                continue
            if not changes(sketch):
                # Neither its strength nor the basis matters.
                values |= {(part, sigma): torch.zeros(count) for part in ("", "left-out")}
                continue
            filters = compare(evaluation, sigma, *self.bases)
            if filters.has_enough_images and not filters.bases[0].adapts:
                continue
            values["left-out", sigma] = filters.remove.left_out(count)
            if filters.has_enough_images:
                found = self.compared(evaluation, sigma, filters)
                values |= {(part, sigma): filters.remove.among(count, value) for part, value in found.items()}
        return Scores.parts(values)

    def has_ceiling(self, evaluation: Evaluation, sigma: float) -> bool:
        """Whether the ceiling is to be found at a noise level, and can be."""
        return among_lowest(sigma, evaluation, self.ceilings) and evaluation.local.maps(sigma, draw=1) is not None

    @abstractmethod
    def compared(self, evaluation: Evaluation, sigma: float, filters: ComparedFilters) -> Mapping[str, Tensor | float]:
        """Return the value, as part ``""``, and parts, of the images that are compared, shape (M,), or one for all."""


def among_lowest(sigma: float, evaluation: Evaluation, count: int | None) -> bool:
    """Whether a noise level is one of the lowest that are scored; all are for ``None``."""
    return sigma in sorted(evaluation.sigmas)[:count]
