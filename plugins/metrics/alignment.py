"""Alignment of the filters of a denoiser with filters that shrink in a basis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor

from gahbench import Basis, Names
from gahbench.evaluation import Evaluation, align

from ._basis_comparison import BasisComparison, ComparedFilters, among_lowest, compute_partial


class Alignment(BasisComparison):
    """Alignment of a denoiser's adaptation to images with the adaptation of filters of equal strength in a basis.

    The filter S_i of an image is the symmetric part of the denoiser's Jacobian. It is compared with the filter of equal
    trace that shrinks in the basis. From both families of filters, a cubic regression on the logarithm of the trace
    removes the mean and everything that depends on the image only through the trace. The remainders describe where and
    along which directions an image is smoothed, but not how strongly. The value is the mean cosine between the
    remainders: 1 for the filters in the basis themselves, and 0 for a denoiser whose filter is constant or changes only
    in strength. With the default basis ``graph-laplacian`` the value is called the GAH alignment
    (geometry-adaptive harmonics). ``direction`` also removes the information about where an image is smoothed.

    Images for which no filter in the basis has the required trace are left out. There is no value if fewer than 24
    images remain, or if the entrant has no Jacobian.

    Parts: ``share`` (U), the fraction of the variation between images that is not strength (below 0.02 the value is 0
    by definition); ``basis-share``, the same fraction of the filters in the basis (below 0.02 there is no value);
    ``left-out``, 1 for images that are left out; ``ceiling``, the alignment with the denoiser's own
    filters under fresh noise, whose square root is the largest value for a basis that depends only on the clean image;
    ``retrieval``, the fraction of images whose filter agrees more with the geometry of its own image than with the
    geometry of any other image at equal strength; ``exchange``, the p-value of these agreements in a permutation test
    of the geometries; ``partial``, the partial cosine, controlling for the filters of the basis ``controlling_for``;
    ``error``, the standard error of the value for images of more than 2304 values, which is then estimated from random
    vectors.

    Parameters
    ----------
    basis
        The basis with which the denoiser is compared.
    controlling_for
        Another basis, for the part ``partial``; ``null`` to omit the part.
    ceiling_levels
        Number of noise levels, from the lowest, at which the part ``ceiling`` is computed; ``null`` for all. Each level
        takes as long as all other parts.
    exchange_levels
        Number of noise levels, from the lowest, at which the parts ``retrieval`` and ``exchange`` are computed;
        ``null`` for all. These parts take longer than all other parts for images of a thousand values.
    """

    share_parts = ("retrieval", "exchange", "share", "basis-share", "left-out")

    def __init__(
        self,
        basis: Annotated[Basis, Names("basis", default="graph-laplacian")],
        controlling_for: Annotated[Basis, Names("basis")] | None = None,
        ceiling_levels: Annotated[int, Field(ge=0)] | None = None,
        exchange_levels: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        super().__init__(basis, controlling_for, ceiling_levels)
        self.exchange_levels = exchange_levels

    def compare(self, evaluation: Evaluation, sigma: float, filters: ComparedFilters) -> Mapping[str, Tensor | float]:
        """Return the cosines after removing strength, and the parts."""
        denoiser, basis = filters.denoiser, filters.bases[0]
        alignment = align(denoiser, basis)
        values: dict[str, Tensor | float] = {
            "": alignment.own,
            "share": denoiser.share,
            "basis-share": basis.share,
        }
        if among_lowest(sigma, evaluation, self.exchange_levels):
            values |= filters.exchange()
        if not denoiser.sketch.exact:
            values["error"] = alignment.error
        if self.controlling_for is not None:
            values["partial"] = compute_partial(denoiser, basis, filters.bases[1])
        if self.has_ceiling(evaluation, sigma):
            values["ceiling"] = align(denoiser, evaluation.local_filters.adaptation(sigma, filters.remove, draw=1)).own
        return values
