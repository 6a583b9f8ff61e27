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
#: Number of images whose eigenvectors are saved for figures, and the ranks of these eigenvectors.
SAVED_IMAGES, SAVED_RANKS = 2, (1, 2, 3, 5, 9, 17, 33, 65)


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

    Arrays for figures: eigenvectors of the first images at the middle noise level, in 8 bits, unless images are large
    (Kadkhodaie 2024, figure 3).
    """

    citation = (KADKHODAIE_2024, MOHAN_2020)
    needs = frozenset({"jacobian"})
    higher_is_better = None

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the parts for every image at every noise level; no scores without a Jacobian."""
        values: dict[tuple[str, float], Tensor] = {}
        arrays = None
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
            if sigma == evaluation.sigmas[len(evaluation.sigmas) // 2] and maps.is_small and evaluation.split == "test":
                arrays = saved_eigenvectors(evaluation, sigma)
        return Scores.parts(values, arrays)


def saved_eigenvectors(evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
    """Return the first images and eigenvectors for figures, in 8 bits.

    ``clean`` and ``noisy`` have shape (K, C, H, W), ``eigenvectors`` (K, R, C, H, W), ``eigenvalues`` (K, R), ``ranks``
    (R,) and ``sigmas`` (1,). Each eigenvector is divided by its largest absolute value; zero is 128.
    """
    pairs = evaluation.local_filters.eigenpairs(sigma)
    assert pairs is not None
    ranks = [rank for rank in SAVED_RANKS if rank <= pairs[0].shape[1]]
    indices = torch.tensor(ranks, device=pairs[0].device) - 1
    eigenvalues, vectors = (part[:SAVED_IMAGES].index_select(1, indices).double().cpu() for part in pairs)
    vectors = vectors / vectors.abs().amax(2, keepdim=True).clamp_min(1e-300)
    return {
        "clean": _to_bytes(255 * evaluation.clean[:SAVED_IMAGES]),
        "noisy": _to_bytes(255 * evaluation.noisy(sigma)[:SAVED_IMAGES]),
        "eigenvectors": _to_bytes(128 + 127 * vectors).reshape(*vectors.shape[:2], *evaluation.shape),
        "eigenvalues": eigenvalues,
        "ranks": torch.tensor(ranks),
        "sigmas": torch.tensor([sigma], dtype=torch.float64),
    }


def _to_bytes(values: Tensor) -> Tensor:
    return values.cpu().round().clamp(0, 255).to(torch.uint8)


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
