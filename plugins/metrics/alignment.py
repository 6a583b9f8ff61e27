"""Alignment of a denoiser's filters with those that shrink in a basis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor

from gahbench import Basis, Names
from gahbench.evaluation import Evaluation, align, partial_cosine

from ._basis_comparison import BasisComparison, ComparedFilters, among_lowest


class Alignment(BasisComparison):
    """How far a denoiser adapts to images as filters that shrink in a basis do, at the same strength.

    The filter S_i of an image is the symmetric part of the denoiser's Jacobian there, the one that it is compared with
    shrinks in the basis so that it has the same trace. From both families the mean is taken out, and all that depends
    on the image by its trace alone (a cubic regression on the logarithm of the trace): what is left is *along what* an
    image is smoothed, and where, not how strongly. The score is the mean cosine of the rests. It is 1 for a denoiser
    that shrinks in the basis, 0 for one whose filter ignores the image or only varies its strength. On
    ``graph-laplacian``, the default, it is the GAH alignment. ``direction`` takes out *where*, too, and is what ranks.

    Images whose trace no filter in the basis has are left out; with fewer than 24 others there is no value.
    Entrants without a Jacobian have none either.

    Parts: ``share`` (U), how much of what changes from image to image is not strength (below 0.02 the score is 0 by
    definition); ``left-out``, 1 for images that are left out; ``ceiling``, the alignment with the denoiser's own
    filters under fresh noise: a basis that depends on the clean image alone can reach its square root; ``retrieval``,
    the share of images whose filter agrees more with the geometry of its own image than with that of any other, at its
    own strength; ``exchange``, the p-value of all those agreements, among permutations of the geometries; ``given``,
    what is left of the score once the basis ``given`` has explained what it can (a partial cosine); ``error``, the
    standard error of the score where images of more than 2304 values make it an estimate from random vectors.

    Parameters
    ----------
    basis
        The basis.
    given
        Another basis, for the part ``given``.
    ceilings
        At how many of the noise levels, from the lowest on, the part ``ceiling`` is found; by default at all. Each
        takes as long as all the rest.
    exchanges
        At how many of the noise levels, from the lowest on, the parts ``retrieval`` and ``exchange`` are found; by
        default at all. They take longer than all the rest where images have a thousand values.
    """

    def __init__(
        self,
        basis: Annotated[Basis, Names("basis", default="graph-laplacian")],
        given: Annotated[Basis, Names("basis")] | None = None,
        ceilings: Annotated[int, Field(ge=0)] | None = None,
        exchanges: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        super().__init__(basis, given, ceilings)
        self.exchanges = exchanges

    def compared(self, evaluation: Evaluation, sigma: float, filters: ComparedFilters) -> Mapping[str, Tensor | float]:
        """Return the cosines without strength, and the parts."""
        denoiser, basis = filters.denoiser, filters.bases[0]
        found = align(denoiser, basis)
        values: dict[str, Tensor | float] = {"": found.own, "share": denoiser.share}
        if among_lowest(sigma, evaluation, self.exchanges):
            values |= filters.exchange()
        if not denoiser.sketch.exact:
            values["error"] = found.error
        if self.given is not None:
            other = filters.bases[1]
            values["given"] = partial_cosine(found.own, align(denoiser, other).own, align(basis, other).own)
        if self.has_ceiling(evaluation, sigma):
            values["ceiling"] = align(denoiser, evaluation.local.adaptation(sigma, filters.remove, draw=1)).own
        return values
