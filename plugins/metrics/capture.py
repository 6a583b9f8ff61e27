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

from .._names import name_of
from ..bases._graph import GraphBasis
from ..bases._matrices import of_all_channels
from ..bases.dct import DCT, frequency_order
from ._eigenbasis import check_eigenvectors, kept
from ._shared_bases import basis_on


class Capture(Metric):
    """Share of the denoiser's leading eigenvectors e_k that lies in as many leading vectors of a basis.

    A = sum_k lambda_k |B_K' e_k|^2 / sum_k lambda_k over the first K = round(trace) eigenvalues (positive ones) of
    the Jacobian's symmetric part, B_K the K lowest vectors of a graph, or in another orthonormal basis those of the K
    largest clean coefficients. Corrected for chance: (A - K/d) / (1 - K/d), which is 1 where the spaces are the same
    and 0 for random ones. Every low-pass filter has a high value, so read it beside its nulls, and rank by
    ``alignment``.

    Parts: ``null``, the same with the basis of another image (mean over the others), for a basis that is adapted to
    images; ``low-dct``, the same with the lowest cosines.

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
        self.basis.check_shape(shape)
        if not self.basis.is_orthonormal(shape):
            raise ValueError(
                f"capture: basis '{name_of(self.basis)}' is not orthonormal on images {shape}; accepted are bases "
                "that are"
            )

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the captured share of every image at every noise level, and its nulls; none without a Jacobian."""
        self.check(evaluation.shape, evaluation.sigmas)
        basis = basis_on(self.basis, evaluation.dataset)
        if basis is None:
            return Scores([])
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            pairs = evaluation.local.eigenpairs(sigma)
            if pairs is None:
                return Scores([])
            eigenvalues, vectors = pairs
            weights = kept(eigenvalues)
            counts = (weights > 0).sum(1)
            # Projections on the leading eigenvectors, each weighed by its eigenvalue.
            filters = (vectors.mT * weights[:, None]) @ vectors
            weights_of = weights.sum(1)

            def captured(projections: Tensor, filters: Tensor = filters, weights_of: Tensor = weights_of) -> Tensor:
                """Return the corrected share of image i in the projection of image j, shape (N, N)."""
                ranks = projections.diagonal(dim1=1, dim2=2).sum(1)
                chance = (ranks / projections.shape[1]).clamp(max=1 - 1e-12)
                share = (filters.flatten(1) @ projections.flatten(1).mT) / weights_of[:, None].clamp_min(1e-300)
                return ((share - chance) / (1 - chance)).cpu()

            table = captured(_leading(basis, evaluation.truth, counts.cpu(), sigma).to(filters))
            own = table.diagonal()
            values["", sigma] = own
            if basis.adaptive:
                values["null", sigma] = (table.sum(1) - own) / (len(own) - 1)
            values["low-dct", sigma] = captured(_lowest(evaluation.clean, counts.cpu()).to(filters)).diagonal()
        return Scores.parts(values)


def _leading(basis: Basis, truth: Truth, counts: Tensor, sigma: float) -> Tensor:
    """Return the projections on the leading vectors of each image's basis, shape (N, d, d)."""
    channels = truth.clean.shape[1]
    if isinstance(basis, GraphBasis):
        columns = basis.spectrum(truth.clean)[0].vectors
        found = [
            vectors[:, : max(1, round(count / channels))]
            for vectors, count in zip(columns, counts.tolist(), strict=True)
        ]
        return of_all_channels(torch.stack([vectors @ vectors.mT for vectors in found]), channels)

    def forward(images: Tensor, first: int) -> Tensor:
        one = replace(truth, clean=truth.clean[first : first + 1], start=truth.start + first)
        adapted = basis.adapt_to(one, sigma)
        clean = adapted.analysis(one.clean)
        return adapted.synthesis(adapted.analysis(images) * _largest(clean, int(counts[first])))

    return AutogradMaps(forward, truth.clean, repeatable=False).matrices()


def _largest(coefficients: Tensor, count: int) -> Tensor:
    """Return 1 for the ``count`` coefficients of largest size, 0 for the others."""
    flat = coefficients.abs().flatten()
    mask = torch.zeros_like(flat)
    mask[flat.argsort(descending=True, stable=True)[:count]] = 1
    return mask.view_as(coefficients)


def _lowest(clean: Tensor, counts: Tensor) -> Tensor:
    """Return the projections on the cosines of lowest frequency, shape (N, d, d)."""
    channels, height, width = clean.shape[1:]
    identity = torch.eye(height * width, dtype=torch.float64).reshape(-1, 1, height, width)
    vectors = DCT().synthesis(identity).flatten(1)
    order = frequency_order(height, width)
    found = []
    for count in counts.tolist():
        lowest = vectors[order[: max(1, round(count / channels))]]
        found.append(lowest.mT @ lowest)
    return of_all_channels(torch.stack(found), channels)
