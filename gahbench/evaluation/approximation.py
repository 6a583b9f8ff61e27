"""Nonlinear approximation of images by their largest coefficients in a basis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gahbench._util.shapes import image_shape
from gahbench.contracts.bases import Basis
from gahbench.contracts.truth import Truth

Array = NDArray[np.float64]


class Approximation(NamedTuple):
    """Approximations of N images by the coefficients above each of T thresholds, which descend, shape (T,).

    The numbers of terms, and the mean squared errors per pixel, have shape (T, N).
    """

    thresholds: Array
    terms: Array
    errors: Array


def approximate(basis: Basis, truth: Truth, thresholds: Sequence[float]) -> Approximation:
    """Approximate images by their coefficients above each threshold.

    An adaptive basis is adapted to the clean images for each threshold. The error with M terms falls as M^-alpha if
    the sorted squared coefficients c_(k)^2 fall as k^-(alpha+1) (Kadkhodaie 2024, equation 13).

    Raises
    ------
    ValueError
        If the basis is not orthonormal on these images, or a threshold is not finite and greater than 0.

    Examples
    --------
    >>> import gahbench
    >>> images = gahbench.create("dataset", "discs", size=16).images("test", 4)
    >>> approximation = approximate(gahbench.create("basis", "haar"), gahbench.Truth(images), [0.1, 0.5])
    >>> approximation.terms.shape, bool((approximation.terms[0] <= approximation.terms[1]).all())
    ((2, 4), True)
    """
    shape = image_shape(truth.clean)
    if not basis.is_orthonormal(shape):
        raise ValueError(f"{type(basis).__name__} is not orthonormal on images {shape}; accepted: orthonormal bases")
    levels = np.sort(np.asarray(thresholds, dtype=np.float64))[::-1]
    if not (np.isfinite(levels) & (levels > 0)).all():
        raise ValueError(f"thresholds must be finite and greater than 0, not {list(thresholds)}")
    terms, errors = [], []
    for threshold in levels.tolist():
        for part in basis.parts(truth.double()):
            coefficients = basis.adapt_to(part, threshold).analysis(part.clean).flatten(1).cpu()
            is_kept = coefficients.abs() > threshold
            terms.append(is_kept.sum(1).double())
            errors.append(coefficients.square().masked_fill(is_kept, 0).mean(1))
    return Approximation(levels, *(torch.cat(each).view(len(levels), -1).numpy() for each in (terms, errors)))
