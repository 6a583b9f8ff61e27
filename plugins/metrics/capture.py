"""The part of a denoiser's leading eigenvectors that lies in the leading vectors of a basis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor

from gahbench import Basis, Metric, Names, Scores, Shape, Truth
from gahbench.evaluation import Evaluation
from gahbench.jacobian import AutogradMaps

from ..bases._graph import GraphBasis
from ..bases.dct import DCT, frequency_order
from ._eigenbasis import check_eigenvectors, check_orthonormal, effective_dimension, kept, scores_of
from ._shared_bases import basis_on


class Capture(Metric):
    """Share of the denoiser's leading eigenvectors e_k that lies in as many leading vectors of a basis.

    A = sum_k lambda_k |B_K' e_k|^2 / sum_k lambda_k over the first K = round(trace) eigenvalues (positive ones) of
    the Jacobian's symmetric part, B_K the K lowest vectors of a graph, or in another orthonormal basis those of the K
    largest clean coefficients. Corrected for chance: (A - K/d) / (1 - K/d), which is 1 where the spaces are the same
    and 0 for random ones. Every low-pass filter has a high value, so read it beside its nulls, and rank by
    ``alignment``.

    Parts: ``null``, the same with the K leading vectors of another image's basis (mean over the others), for a basis
    that is adapted to images; ``low-dct``, the same with the lowest cosines.

    Parameters
    ----------
    basis
        An orthonormal basis.
    """

    needs = frozenset({"jacobian"})
    label_parameters = ("basis",)
    min_images = 2

    def __init__(self, basis: Annotated[Basis, Names("basis", default="graph-laplacian")]) -> None:
        self.basis = basis

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images of too many values, or on which the basis is not orthonormal."""
        check_eigenvectors(shape, "capture")
        check_orthonormal(self.basis, shape, "capture")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the captured share of every image at every noise level, and its nulls; none without a Jacobian."""
        self.check(evaluation.shape, evaluation.sigmas)
        basis = basis_on(self.basis, evaluation.dataset)
        if basis is None:
            return Scores([])
        cosines = _lowest(evaluation.shape)

        def parts(sigma: float, eigenvalues: Tensor, vectors: Tensor) -> dict[str, Tensor]:
            weights, counts = kept(eigenvalues), effective_dimension(eigenvalues)
            atoms = _leading(basis, evaluation.truth, sigma).to(vectors)
            found = {"": _captured(vectors, weights, counts, atoms)}
            if basis.adaptive:
                found["null"] = _of_others(vectors, weights, counts, atoms)
            return found | {"low-dct": _captured(vectors, weights, counts, cosines.to(vectors))}

        return scores_of(evaluation, parts)


def _captured(vectors: Tensor, weights: Tensor, counts: Tensor, atoms: Tensor) -> Tensor:
    """Return the corrected share of eigenvectors in the first K of atoms, of each image, shape (N,)."""
    energies = ((atoms @ vectors.mT).square() @ weights[..., None])[..., 0]
    places = torch.arange(energies.shape[1], device=energies.device)
    return _corrected((energies * (places < counts[:, None])).sum(1), weights.sum(1), counts, energies.shape[1])


def _of_others(vectors: Tensor, weights: Tensor, counts: Tensor, atoms: Tensor) -> Tensor:
    """Return the same in the K leading atoms of another image, the mean over the others, shape (N,)."""
    found = []
    # K is an image's own, so that it is compared with the others together, and not all with all.
    for place, count in enumerate(counts.tolist()):
        overlaps = (atoms[:, :count] @ vectors[place, :count].mT).square()
        captured = (overlaps @ weights[place, :count, None]).sum((1, 2))
        found.append((captured.sum() - captured[place]) / (len(atoms) - 1))
    return _corrected(torch.stack(found), weights.sum(1), counts, atoms.shape[1])


def _corrected(captured: Tensor, weights: Tensor, counts: Tensor, size: int) -> Tensor:
    """Return captured weight as a share, corrected for the K/d that random vectors capture."""
    chance = (counts.double() / size).clamp(max=1 - 1e-12)
    return ((captured / weights.clamp_min(1e-300) - chance) / (1 - chance)).cpu()


def _leading(basis: Basis, truth: Truth, sigma: float) -> Tensor:
    """Return the vectors of each image's basis, the leading first, as rows, shape (N, d, d)."""
    if isinstance(basis, GraphBasis):
        return _interleaved(basis.spectrum(truth.clean)[0].vectors.mT, truth.clean.shape[1])

    def forward(images: Tensor, first: int) -> Tensor:
        one = replace(truth, clean=truth.clean[first : first + 1], start=truth.start + first)
        return basis.adapt_to(one, sigma).analysis(images).reshape(images.shape)

    # The Jacobian of the coefficients has the atoms as its rows.
    atoms = AutogradMaps(forward, truth.clean, repeatable=False).matrices()
    sizes = (atoms @ truth.clean.flatten(1)[..., None].to(atoms)).abs()[..., 0]
    order = sizes.argsort(dim=1, descending=True, stable=True)
    return atoms.gather(1, order[..., None].expand_as(atoms))


def _lowest(shape: Shape) -> Tensor:
    """Return the cosines, those of lowest frequency first, as rows, shape (1, d, d)."""
    channels, height, width = shape
    identity = torch.eye(height * width, dtype=torch.float64).reshape(-1, 1, height, width)
    vectors = DCT().synthesis(identity).flatten(1)[frequency_order(height, width)]
    return _interleaved(vectors[None], channels)


def _interleaved(vectors: Tensor, channels: int) -> Tensor:
    """Return the vectors of one channel, rows (N, d, d), in one channel after the other: (N, C d, C d)."""
    eye = torch.eye(channels, dtype=vectors.dtype, device=vectors.device)
    return torch.einsum("nkq,ce->nkceq", vectors, eye).reshape(len(vectors), *(vectors.shape[1] * channels,) * 2)
