"""Eigenvectors of a denoiser's Jacobian at the inspected image: all of small images, and the first of larger images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from gahbench._util.errors import ParameterError, listing
from gahbench.jacobian import LARGEST_EXACT
from gahbench.jacobian.eigen import top

if TYPE_CHECKING:
    from gahbench._util.shapes import Shape
    from gahbench.evaluation.evaluation import Evaluation

#: Number of eigenvectors of larger images, unless higher ranks are requested.
DEFAULT_COUNT = 33
#: Maximum number of values of an image.
MAX_VALUES = 1 << 16


def is_small(shape: Shape) -> bool:
    """Return whether images (C, H, W) are small enough for all eigenvectors."""
    return math.prod(shape) <= LARGEST_EXACT


def check_ranks(ranks: Sequence[int], shape: Shape) -> None:
    """Raise ``ParameterError`` for ranks that images (C, H, W) do not have."""
    size = math.prod(shape)
    if invalid := [rank for rank in ranks if not 1 <= rank <= size]:
        raise ParameterError(f"ranks {listing(map(str, invalid))}; accepted: 1 to {size}, the number of values")


def eigenpairs(evaluation: Evaluation, sigma: float, ranks: Sequence[int]) -> tuple[Tensor, Tensor, str]:
    """Return the eigenvalues (k,), descending, and eigenvectors (k, d) at a single image, and a note on their number.

    Raises
    ------
    ParameterError
        If the denoiser has no Jacobian.
    """
    maps = evaluation.local_filters.maps(sigma)
    if maps is None:
        raise ParameterError("the denoiser has no Jacobian; accepted: denoisers that can be differentiated")
    if is_small(evaluation.shape):
        pairs = evaluation.local_filters.eigenpairs(sigma)
        assert pairs is not None
        return pairs[0][0].cpu(), pairs[1][0].cpu(), ""
    count = min(max(ranks, default=DEFAULT_COUNT), maps.size)
    leading = top(maps, count)
    note = (
        f"the first {count} of {maps.size} eigenvectors, by {leading.method}; |S v - λ v| at most "
        f"{float(leading.residuals.max()):.1g}"
    )
    return leading.values[0].cpu(), leading.vectors[0].cpu(), note
