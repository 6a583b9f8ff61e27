"""Spectrum of the Jacobian of a denoiser."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.jacobian import LinearMaps, probes_for, top

from .._papers import KADKHODAIE_2024, MOHAN_2020

#: Number of random vectors for the asymmetry of large images.
PROBES = 32


class Spectrum(Metric):
    """Spectrum of the denoiser's Jacobian J at each noisy image.

    The Jacobian of an optimal denoiser is symmetric, with nonnegative eigenvalues (Kadkhodaie 2024, equation 9; Mohan
    et al. 2020). Eigenvalues belong to the symmetric part of J. They are not clipped: networks have eigenvalues above 1
    and below 0. The metric has parts only, and no ranked value.

    Parts: ``trace``, the effective dimension; ``above-half``, the number of eigenvalues above 1/2; ``largest`` and
    ``smallest``, the extreme eigenvalues; ``negative``, the sum of the absolute negative eigenvalues divided by the sum
    of the positive eigenvalues; ``asymmetry``, |J - J'| / |J| (Frobenius norms), 0 for a symmetric Jacobian;
    ``homogeneity``, |J y - f(y)| / |f(y)|, 0 for bias-free networks, for which f(y) = J y (equation 6). For images of
    more than 2304 values the trace is estimated from random vectors, the extreme eigenvalues are computed by the
    Lanczos method, and ``above-half`` and ``negative`` are omitted.
    """

    citation = (KADKHODAIE_2024, MOHAN_2020)
    needs = frozenset({"jacobian"})
    higher_is_better = None

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the parts for every image at every noise level; no scores without a Jacobian."""
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            maps, trace = evaluation.local_filters.maps(sigma), evaluation.local_filters.trace(sigma)
            if maps is None or trace is None:
                continue
            noisy = evaluation.noisy(sigma).flatten(1)[:, None]
            parts = {"trace": trace.value} | (
                _exact_parts(evaluation, sigma) if maps.is_small else _estimated_parts(maps)
            )
            # Use the maps, which are in float32; matrices may contain products in bfloat16.
            parts["homogeneity"] = _relative_distance(maps.matvec(noisy)[:, 0], evaluation.denoised(sigma).flatten(1))
            values |= {(name, sigma): value for name, value in parts.items()}
        return Scores.parts(values)


def _exact_parts(evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
    pairs, matrices = evaluation.local_filters.eigenpairs(sigma), evaluation.local_filters.matrices(sigma)
    assert pairs is not None
    assert matrices is not None
    eigenvalues = pairs[0]
    positive, negative = eigenvalues.clamp(min=0).sum(1), eigenvalues.clamp(max=0).sum(1)
    return {
        "above-half": (eigenvalues > 0.5).sum(1),
        "largest": eigenvalues[:, 0],
        "smallest": eigenvalues[:, -1],
        "negative": -negative / positive.clamp_min(1e-300),
        "asymmetry": _frobenius_norm(matrices - matrices.mT) / _frobenius_norm(matrices).clamp_min(1e-300),
    }


def _estimated_parts(maps: LinearMaps) -> dict[str, Tensor]:
    vectors = probes_for(maps.size, PROBES, 0, maps.like)
    products, adjoint_products = maps.matvec(vectors), maps.rmatvec(vectors)
    return {
        "largest": top(maps, 1).values[:, 0],
        "smallest": top(maps, 1, smallest=True).values[:, 0],
        "asymmetry": _frobenius_norm(products - adjoint_products) / _frobenius_norm(adjoint_products).clamp_min(1e-300),
    }


def _frobenius_norm(matrices: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(matrices, dim=(1, 2), dtype=torch.float64)
    return norms.cpu()


def _relative_distance(actual: Tensor, expected: Tensor) -> Tensor:
    actual, expected = actual.double().cpu(), expected.double().cpu()
    relative: Tensor = torch.linalg.vector_norm(actual - expected, dim=1)
    relative /= torch.linalg.vector_norm(expected, dim=1).clamp_min(1e-300)
    return relative
