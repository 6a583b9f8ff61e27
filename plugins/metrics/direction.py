"""Direction: alignment in what is not isotropic, the headline of how geometry-adaptive and harmonic a basis is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from gahbench import Shape
from gahbench.evaluation import Evaluation, align, partial_cosine
from gahbench.jacobian import LARGEST_EXACT

from ._basis_comparison import BasisComparison, ComparedFilters


class Direction(BasisComparison):
    """How far a denoiser smooths along the same directions as filters that shrink in a basis.

    As ``alignment``, with one thing more taken out of both families: all that is the same in the eight directions about
    each pixel (:func:`gahbench.evaluation.directional`). A blur whose width follows the image has a high alignment with
    a graph, since both smooth least where there are edges, but no direction: it is isotropic at every pixel. What is
    left is geometry. It is 1 for a denoiser that shrinks in the basis, and 0 by definition where less than 0.02 of what
    a denoiser adapts is directional.

    Parts: ``directional-share``, how much of what the denoiser adapts is directional; ``left-out``, ``ceiling``
    and ``given`` as in ``alignment``, of the directional parts.

    Parameters
    ----------
    basis
        The basis.
    given
        Another basis, for the part ``given``.
    ceilings
        At how many of the noise levels, from the lowest on, the part ``ceiling`` is found; by default at all. Each
        takes as long as all the rest.
    """

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images of which a basis has no filters, or too large for all of a filter."""
        super().check(shape, sigmas)
        if math.prod(shape) > LARGEST_EXACT:
            raise ValueError(
                f"direction needs all of a filter, as is found for images of up to {LARGEST_EXACT} values (48x48 "
                f"grey), not of {'x'.join(map(str, shape))}; alignment takes larger ones"
            )

    def compared(self, evaluation: Evaluation, sigma: float, filters: ComparedFilters) -> Mapping[str, Tensor | float]:
        """Return the cosines of the directional parts, and the parts."""
        shape = evaluation.shape
        denoiser = evaluation.local.adaptation(sigma, filters.remove, directional=True)
        basis = filters.bases[0].directional(shape)
        own = align(denoiser, basis).own
        values: dict[str, Tensor | float] = {"": own, "directional-share": denoiser.share}
        if self.given is not None:
            other = filters.bases[1].directional(shape)
            values["given"] = partial_cosine(own, align(denoiser, other).own, align(basis, other).own)
        if self.has_ceiling(evaluation, sigma):
            fresh = evaluation.local.adaptation(sigma, filters.remove, draw=1, directional=True)
            values["ceiling"] = align(denoiser, fresh).own
        return values
