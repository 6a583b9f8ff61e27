"""The spectrum of a denoiser's Jacobian."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation
from gahbench.jacobian import LinearMaps, probes_for, top

from .._papers import KADKHODAIE_2024, MOHAN_2020

#: Random vectors for the asymmetry where images are large.
PROBES = 32


class Spectrum(Metric):
    """Spectrum of the denoiser's Jacobian J at each noisy image: how much it keeps, and whether it could be optimal.

    That of an optimal denoiser is symmetric, with eigenvalues of 0 or more (Kadkhodaie 2024, equation 9; Mohan et al.
    2020). Eigenvalues are those of the symmetric part. Nothing is clipped: real networks have some above 1 and below 0.

    Parts: ``trace``, the effective dimension; ``above-half``, how many eigenvalues are above 1/2; ``largest`` and
    ``smallest`` eigenvalue; ``negative``, the sum of the negative ones as a share of the positive; ``asymmetry``,
    |J - J'| / |J| (Frobenius norms), 0 for a symmetric one; ``homogeneity``, |J y - f(y)| / |f(y)|, 0 for a
    bias-free network, whose denoised image is J y (equation 6). There is no headline: these are facts, not ranks.
    On images of more than 2304 values traces are estimated from random vectors, the extreme eigenvalues are found by
    Lanczos' method, and parts that need all eigenvalues are left out.
    """

    citation = (KADKHODAIE_2024, MOHAN_2020)
    needs = frozenset({"jacobian"})
    higher_is_better = None

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the parts of every image at every noise level; none for an entrant without a Jacobian."""
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            maps, trace = evaluation.local.maps(sigma), evaluation.local.trace(sigma)
            if maps is None or trace is None:
                continue
            noisy = evaluation.noisy(sigma).flatten(1)[:, None]
            parts = {"trace": trace.value} | (_all(evaluation, sigma) if maps.is_small else _some(maps))
            # Of the maps, which are in float32: matrices may be from products in bfloat16.
            parts["homogeneity"] = _relative(maps.matvec(noisy)[:, 0], evaluation.denoised(sigma).flatten(1))
            values |= {(name, sigma): value for name, value in parts.items()}
        return Scores.parts(values)


def _all(evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
    pairs, matrices = evaluation.local.eigenpairs(sigma), evaluation.local.matrices(sigma)
    assert pairs is not None
    assert matrices is not None
    eigenvalues = pairs[0]
    positive, negative = eigenvalues.clamp(min=0).sum(1), eigenvalues.clamp(max=0).sum(1)
    return {
        "above-half": (eigenvalues > 0.5).sum(1),
        "largest": eigenvalues[:, 0],
        "smallest": eigenvalues[:, -1],
        "negative": -negative / positive.clamp_min(1e-300),
        "asymmetry": _norm(matrices - matrices.mT) / _norm(matrices).clamp_min(1e-300),
    }


def _some(maps: LinearMaps) -> dict[str, Tensor]:
    vectors = probes_for(maps.size, PROBES, 0, maps.like)
    forth, back = maps.matvec(vectors), maps.rmatvec(vectors)
    return {
        "largest": top(maps, 1).values[:, 0],
        "smallest": top(maps, 1, smallest=True).values[:, 0],
        "asymmetry": _norm(forth - back) / _norm(back).clamp_min(1e-300),
    }


def _norm(matrices: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(matrices, dim=(1, 2), dtype=torch.float64)
    return norms.cpu()


def _relative(found: Tensor, expected: Tensor) -> Tensor:
    found, expected = found.double().cpu(), expected.double().cpu()
    relative: Tensor = torch.linalg.vector_norm(found - expected, dim=1)
    relative /= torch.linalg.vector_norm(expected, dim=1).clamp_min(1e-300)
    return relative
