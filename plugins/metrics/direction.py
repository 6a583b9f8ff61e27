"""Alignment of the directional parts of a denoiser's filters with the directional parts of filters in a basis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from gahbench import Shape
from gahbench.evaluation import Evaluation, align

from ._basis_comparison import BasisComparison, ComparedFilters, compute_partial
from ._directional import check_size


class Direction(BasisComparison):
    """Alignment of the directions along which a denoiser smooths with the directions of filters that shrink in a basis.

    The value is computed like ``alignment``, after also removing the isotropic part of both families of filters:
    everything that the symmetries of the grid around each pixel, quarter turns and reflections, leave unchanged
    (:func:`gahbench.evaluation.directional`). A blur whose width depends on the image has a high alignment with a
    graph, since both smooth least near edges. Its direction is 0, since it is isotropic at every pixel. The value is 1
    for the filters in the basis themselves, and 0 by definition for a denoiser whose adaptation has a directional
    fraction below 0.02. If the directional fraction of the basis's own filters is below 0.02, there is no value.

    The value says how much a denoiser is like one model of an image's geometry, such as the bilateral graph of the
    clean image (``graph-laplacian``). It does not say how good the denoiser is: the optimal denoiser may have a low
    value, and the filter on the graph itself has the value 1. Where the filters of the optimal denoiser are known,
    ``truth-direction`` compares with them.

    Parts: ``directional-share``, the directional fraction of the denoiser's adaptation; ``basis-share``, the
    directional fraction of the basis's adaptation; ``left-out``, ``ceiling`` and ``partial`` as in ``alignment``, for
    the directional parts.

    Parameters
    ----------
    basis
        The basis with which the denoiser is compared.
    controlling_for
        Another basis, for the part ``partial``; ``null`` to omit the part.
    ceiling_levels
        Number of noise levels, from the lowest, at which the part ``ceiling`` is computed; ``null`` for all. Each level
        takes as long as all other parts.
    """

    share_parts = ("directional-share", "basis-share", "left-out")

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for image shapes for which a basis has no filters, or with more than 2304 values."""
        super().check(shape, sigmas)
        check_size("direction", shape)

    def compare(self, evaluation: Evaluation, sigma: float, filters: ComparedFilters) -> Mapping[str, Tensor | float]:
        """Return the cosines of the directional parts, and the other parts."""
        shape = evaluation.shape
        denoiser = evaluation.local_filters.adaptation(sigma, filters.remove, directional=True)
        basis = filters.bases[0].directional(shape)
        values: dict[str, Tensor | float] = {
            "": align(denoiser, basis).own,
            "directional-share": denoiser.share,
            "basis-share": basis.share,
        }
        if self.controlling_for is not None:
            values["partial"] = compute_partial(denoiser, basis, filters.bases[1].directional(shape))
        if self.has_ceiling(evaluation, sigma):
            fresh = evaluation.local_filters.adaptation(sigma, filters.remove, draw=1, directional=True)
            values["ceiling"] = align(denoiser, fresh).own
        return values
