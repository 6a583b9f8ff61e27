"""Heat that spreads along the graph of the clean image."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, Names, Reference, Shape, Truth

from ..bases._graph import checked_graph_basis, damping, strength

#: Times that are tried: from 1/100 of the shortest time scale of a graph to where all that is left is its mean.
TIMES = torch.logspace(-3, 5, 129, dtype=torch.float64)


class HeatKernel(Reference):
    """An oracle that lets heat spread for a time t along the graph of the clean image: exp(-t L) y.

    Its Jacobian is exp(-t L), with the harmonics of the graph for eigenvectors: what a denoiser that shrinks in a
    geometry-adaptive harmonic basis would be. Each channel is filtered alone. Its other kernel, (1 + t L)^-1, is the
    filter that alignment with a graph compares with: one that damps high frequencies less.

    Parameters
    ----------
    basis
        A basis of harmonics of a graph, which gives L.
    kernel
        ``heat``: exp(-t L); ``tikhonov``: (1 + t L)^-1.
    time
        t, in units of one over the weights of the graph; ``null`` for the time of least expected error of each image.
    kept
        Instead of a time: the trace of the filter as a share of the number of pixels, the same for all images.

    Raises
    ------
    ValueError
        If the basis is none of a graph, or both ``time`` and ``kept`` are given.
    """

    kind = "oracle"
    label_parameters = ("basis",)

    def __init__(
        self,
        basis: Annotated[Basis, Names("basis", default="graph-laplacian")],
        kernel: Literal["heat", "tikhonov"] = "heat",
        time: Annotated[float, Field(gt=0)] | None = None,
        kept: Annotated[float, Field(gt=0, lt=1)] | None = None,
    ) -> None:
        if time is not None and kept is not None:
            raise ValueError(f"time={time:g} and kept={kept:g}: accepted is one of them")
        self.basis = checked_graph_basis(basis)
        self.kernel = kernel
        self.time = time
        self.kept = kept

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that the basis cannot analyse."""
        self.basis.check_shape(shape)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the noisy images after the heat has spread, shape (N, C, H, W)."""
        found = []
        sizes = [len(part) for part in self.basis.parts(truth)]
        for part, images in zip(self.basis.parts(truth), torch.split(noisy, sizes), strict=True):
            vectors, values = self.basis.spectrum(part.clean)
            weights = self._weights(vectors.analysis(part.clean.double()), values, sigma)
            coefficients = vectors.analysis(images) * weights.to(images)[:, None].view(
                len(images), 1, *images.shape[2:]
            )
            found.append(vectors.synthesis(coefficients))
        return torch.cat(found)

    def risk(self, truth: Truth, sigma: float) -> Tensor:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64: bias^2 + variance."""
        risks = []
        for part in self.basis.parts(truth):
            vectors, values = self.basis.spectrum(part.clean)
            clean = vectors.analysis(part.clean.double())
            weights = self._weights(clean, values, sigma)[:, None]
            energy = clean.flatten(2).square()
            risks.append(((1 - weights).square() * energy + weights.square() * sigma**2).mean((1, 2)))
        return torch.cat(risks)

    def _weights(self, clean: Tensor, values: Tensor, sigma: float) -> Tensor:
        """Return the kernel of t lambda, shape (N, d), t of least expected error unless it or the trace is given."""
        if self.kept is not None:
            times = strength(values, values.new_full(values.shape[:1], self.kept * values.shape[1]), self._kernel)
            return self._kernel(times[:, None] * values)
        times = TIMES.to(values) if self.time is None else values.new_tensor([self.time])
        tried = self._kernel(times[:, None, None] * values)
        energy = clean.flatten(2).square().mean(1)
        risks = ((1 - tried).square() * energy + tried.square() * sigma**2).sum(2)
        best = risks.argmin(0)
        return tried[best, torch.arange(len(values), device=best.device)]

    def _kernel(self, products: Tensor) -> Tensor:
        return torch.exp(-products) if self.kernel == "heat" else damping(products)
