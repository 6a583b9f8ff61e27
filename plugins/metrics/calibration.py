"""Calibration of a denoiser along the eigenvectors of its Jacobian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation

from .._papers import MANOR_2024
from ._eigenbasis import leading_eigenpairs

#: First ranks of the bands of eigenvectors: 1, 2 to 3, 4 to 7, and so on.
FIRST_RANKS = tuple(2**octave for octave in range(12))
#: Number of eigenvectors for images that are too large to compute all eigenvectors.
LARGE_COUNT = 15


class Calibration(Metric):
    """Squared error along eigenvectors of the Jacobian, divided by the variance that the eigenvalues predict.

    At a noisy image y, the Jacobian of the optimal denoiser times sigma^2 is the posterior covariance (Kadkhodaie 2024,
    equation 9), whose eigenvectors v_k and eigenvalues sigma^2 lambda_k say along which directions, and how far, the
    clean image x may lie from the estimate f(y) (Manor & Michaeli 2024). So for the optimal denoiser, for every k, the
    mean of <v_k, x - f(y)>^2 is the mean of sigma^2 lambda_k over images and noise. ``self-consistency`` tests the sum
    over all k; this metric tests bands of k.

    Boards show ``from-1``, ``from-2``, ``from-4`` and so on: the ratio of the means of error and predicted variance in
    the bands of eigenvectors 1, 2 to 3, 4 to 7, and so on, in order of decreasing eigenvalue. The ratio is 1 for an
    optimal denoiser. Above 1, the denoiser is overconfident: errors along these directions are larger than predicted.
    A ratio of 1 does not prove optimality, so the metric has no ranked value.

    Parts, for each band, divided by sigma^2: ``error-1``, ``error-2`` and so on, the sum of <v_k, x - f(y)>^2;
    ``variance-1``, ``variance-2`` and so on, the sum of lambda_k. Eigenvectors and eigenvalues belong to the symmetric
    part of the Jacobian; eigenvalues that are not positive predict no variance and are left out. For images of more
    than 2304 values, only the bands up to eigenvector 15 are computed, by the Lanczos method.
    """

    citation = MANOR_2024
    needs = frozenset({"jacobian"})
    higher_is_better = None
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {
        f"from-{first}": (f"error-{first}", f"variance-{first}") for first in FIRST_RANKS
    }
    positive_parts = (
        "from-1",
        "from-2",
        "from-4",
        "from-8",
        "from-16",
        "from-32",
        "from-64",
        "from-128",
        "from-256",
        "from-512",
        "from-1024",
        "from-2048",
    )

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the parts for every image at every noise level; no scores without a Jacobian."""
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            pairs = leading_eigenpairs(evaluation, sigma, LARGE_COUNT)
            if pairs is None:
                continue
            eigenvalues, vectors = pairs
            difference = (evaluation.clean - evaluation.denoised(sigma)).double().flatten(1).to(vectors.device)
            errors = (vectors @ difference[..., None])[..., 0].square() / sigma**2
            is_positive = eigenvalues > 0
            # Sums over bands are differences of cumulative sums, so that one transfer reads all bands.
            terms = torch.stack([errors, eigenvalues, torch.ones_like(eigenvalues)]) * is_positive
            sums = torch.nn.functional.pad(terms.cumsum(2), (1, 0)).cpu()
            for first in FIRST_RANKS[: eigenvalues.shape[1].bit_length()]:
                start, end = first - 1, min(2 * first - 1, eigenvalues.shape[1])
                error, variance, count = sums[..., end] - sums[..., start]
                # An empty band has no value, since no variance is predicted.
                for name, total in (("error", error), ("variance", variance)):
                    values[f"{name}-{first}", sigma] = torch.where(count > 0, total, torch.nan)
        return Scores.parts(values)
