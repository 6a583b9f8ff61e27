"""Nonlinear approximation of images by their largest coefficients in a basis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gahbench._util.shapes import image_shape
from gahbench.contracts.bases import Basis
from gahbench.contracts.truth import Truth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Approximation:
    """Best approximations of N images by the coefficients above each of T thresholds.

    ``thresholds`` has shape (T,) and descends. ``terms``, the number of kept coefficients, and ``errors``, the mean
    squared error per pixel, which is the energy of the other coefficients, have shape (T, N).
    """

    thresholds: Array
    terms: Array
    errors: Array

    @property
    def mean_terms(self) -> Array:
        """Mean number of terms over the images, shape (T,)."""
        return np.asarray(self.terms.mean(1))

    @property
    def mean_errors(self) -> Array:
        """Mean error over the images, shape (T,)."""
        return np.asarray(self.errors.mean(1))

    @property
    def shown(self) -> NDArray[np.bool_]:
        """Whether a logarithmic figure can show a threshold: at least one term and a positive error; shape (T,)."""
        return np.asarray((self.mean_terms >= 1) & (self.mean_errors > 0))


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
        term_counts, remaining_energy = [], []
        for part in basis.parts(truth.double()):
            coefficients = basis.adapt_to(part, threshold).analysis(part.clean).flatten(1)
            is_kept = coefficients.abs() > threshold
            term_counts.append(is_kept.sum(1).double().cpu().numpy())
            remaining_energy.append(coefficients.square().masked_fill(is_kept, 0).mean(1).cpu().numpy())
        terms.append(np.concatenate(term_counts))
        errors.append(np.concatenate(remaining_energy))
    return Approximation(levels, np.stack(terms), np.stack(errors))
