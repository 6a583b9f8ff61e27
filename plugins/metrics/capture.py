"""Overlap of the leading eigenvectors of a denoiser with the leading vectors of a basis."""

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
from ._eigenbasis import (
    check_eigenvectors,
    check_orthonormal,
    effective_dimension,
    leading_eigenvalues,
    score_eigenvectors,
)
from ._shared_bases import basis_on


class Capture(Metric):
    """Fraction of the denoiser's leading eigenvectors e_k in the span of equally many leading vectors of a basis.

    A = sum_k lambda_k |B_K' e_k|^2 / sum_k lambda_k over the first K = round(trace) eigenvalues of the Jacobian's
    symmetric part, without negative eigenvalues. B_K contains the K lowest harmonics of a graph, or the vectors of the
    K largest clean coefficients in another orthonormal basis. The value is corrected for chance, (A - K/d) / (1 - K/d):
    it is 1 for equal subspaces and 0 for random subspaces. Every low-pass filter has a high value, so compare it with
    the parts ``null`` and ``low-dct``, and compare bases by ``alignment``.

    Parts: ``null``, the mean value with the K leading vectors of the basis of other images, for adaptive bases;
    ``low-dct``, the value with the K cosines of lowest frequency.

    Parameters
    ----------
    basis
        Any orthonormal basis.
    """

    needs = frozenset({"jacobian"})
    label_parameters = ("basis",)
    min_images = 2

    def __init__(self, basis: Annotated[Basis, Names("basis", default="graph-laplacian")]) -> None:
        self.basis = basis

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with more than 2304 values, or on which the basis is not orthonormal."""
        check_eigenvectors(shape, "capture")
        check_orthonormal(self.basis, shape, "capture")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the values and parts for every image at every noise level; no scores without a Jacobian."""
        self.check(evaluation.shape, evaluation.sigmas)
        basis = basis_on(self.basis, evaluation.dataset)
        if basis is None:
            return Scores([])
        cosines = _lowest_cosines(evaluation.shape)

        def parts(sigma: float, eigenvalues: Tensor, vectors: Tensor) -> dict[str, Tensor]:
            weights, counts = leading_eigenvalues(eigenvalues), effective_dimension(eigenvalues)
            atoms = _ordered_atoms(basis, evaluation.truth, sigma).to(vectors)
            values = {"": _captured_share(vectors, weights, counts, atoms)}
            if basis.adaptive:
                values["null"] = _captured_by_others(vectors, weights, counts, atoms)
            return values | {"low-dct": _captured_share(vectors, weights, counts, cosines.to(vectors))}

        return score_eigenvectors(evaluation, parts)


def _captured_share(vectors: Tensor, weights: Tensor, counts: Tensor, atoms: Tensor) -> Tensor:
    """Return the corrected share of the eigenvectors in the first K atoms for each image, shape (N,)."""
    energies = ((atoms @ vectors.mT).square() @ weights[..., None])[..., 0]
    indices = torch.arange(energies.shape[1], device=energies.device)
    return _correct_for_chance(
        (energies * (indices < counts[:, None])).sum(1), weights.sum(1), counts, energies.shape[1]
    )


def _captured_by_others(vectors: Tensor, weights: Tensor, counts: Tensor, atoms: Tensor) -> Tensor:
    """Return the mean corrected share in the first K atoms of the other images, shape (N,)."""
    means = []
    # K differs between images, so each image is compared with all other images separately.
    for index, count in enumerate(counts.tolist()):
        overlaps = (atoms[:, :count] @ vectors[index, :count].mT).square()
        captured = (overlaps @ weights[index, :count, None]).sum((1, 2))
        means.append((captured.sum() - captured[index]) / (len(atoms) - 1))
    return _correct_for_chance(torch.stack(means), weights.sum(1), counts, atoms.shape[1])


def _correct_for_chance(captured: Tensor, weights: Tensor, counts: Tensor, size: int) -> Tensor:
    """Return captured weights as fractions, corrected for the fraction K/d that random vectors capture."""
    chance = (counts.double() / size).clamp(max=1 - 1e-12)
    return ((captured / weights.clamp_min(1e-300) - chance) / (1 - chance)).cpu()


def _ordered_atoms(basis: Basis, truth: Truth, sigma: float) -> Tensor:
    """Return the basis vectors of each image as rows, leading vectors first, shape (N, d, d)."""
    if isinstance(basis, GraphBasis):
        return _repeat_for_channels(basis.spectrum(truth.clean)[0].vectors.mT, truth.clean.shape[1])

    def forward(images: Tensor, first: int) -> Tensor:
        image_truth = replace(truth, clean=truth.clean[first : first + 1], start=truth.start + first)
        return basis.adapt_to(image_truth, sigma).analysis(images).reshape(images.shape)

    # The rows of the Jacobian of the analysis are the atoms.
    atoms = AutogradMaps(forward, truth.clean, repeatable=False).matrices()
    magnitudes = (atoms @ truth.clean.flatten(1)[..., None].to(atoms)).abs()[..., 0]
    order = magnitudes.argsort(dim=1, descending=True, stable=True)
    return atoms.gather(1, order[..., None].expand_as(atoms))


def _lowest_cosines(shape: Shape) -> Tensor:
    """Return the cosines as rows, lowest frequencies first, shape (1, d, d)."""
    channels, height, width = shape
    identity = torch.eye(height * width, dtype=torch.float64).reshape(-1, 1, height, width)
    vectors = DCT().synthesis(identity).flatten(1)[frequency_order(height, width)]
    return _repeat_for_channels(vectors[None], channels)


def _repeat_for_channels(vectors: Tensor, channels: int) -> Tensor:
    """Repeat single-channel vectors, rows (N, d, d), for each channel, interleaved: (N, C d, C d)."""
    eye = torch.eye(channels, dtype=vectors.dtype, device=vectors.device)
    return torch.einsum("nkq,ce->nkceq", vectors, eye).reshape(len(vectors), *(vectors.shape[1] * channels,) * 2)
