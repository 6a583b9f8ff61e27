"""Heat diffusion on a graph of the clean image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, Names, Reference, Shape, Truth
from gahbench_plugins.bases.graph import check_graph_basis, damping, solve_strength

#: Candidate times, from 1/100 of the shortest time scale of a graph to times at which only the mean remains.
TIMES = torch.logspace(-3, 5, 129, dtype=torch.float64)


class HeatKernel(Reference):
    """Oracle that diffuses the noisy image y on a graph of the clean image with Laplacian L: exp(-t L) y.

    The Jacobian is exp(-t L), whose eigenvectors are the harmonics of the graph. A denoiser that shrinks in a
    geometry-adaptive harmonic basis has such a Jacobian. Channels are filtered separately. The other kernel,
    (1 + t L)^-1, damps high frequencies less; ``alignment`` with a graph compares denoisers with this filter.

    Parameters
    ----------
    basis
        A basis of harmonics of a graph, which defines L.
    kernel
        ``heat``: exp(-t L); ``tikhonov``: (1 + t L)^-1.
    time
        Diffusion time t > 0, in units of 1 / (edge weight); ``null`` for the time of smallest expected error for each
        image.
    trace_fraction
        Trace of the filter divided by the number of pixels, in (0, 1), instead of a time.

    Raises
    ------
    ValueError
        If the basis is not a basis of harmonics of a graph, or both ``time`` and ``trace_fraction`` are given.
    """

    display_name = "heat kernel"
    kind = "oracle"
    label_parameters = ("basis",)

    def __init__(
        self,
        basis: Annotated[Basis, Names("basis", default="graph-laplacian")],
        kernel: Literal["heat", "tikhonov"] = "heat",
        time: Annotated[float, Field(gt=0)] | None = None,
        trace_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None,
    ) -> None:
        if time is not None and trace_fraction is not None:
            raise ValueError(f"time={time:g} and trace_fraction={trace_fraction:g}; accepted: one of the two")
        self.basis = check_graph_basis(basis)
        self.kernel = kernel
        self.time = time
        self.trace_fraction = trace_fraction

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for image shapes (C, H, W) that the basis cannot analyse."""
        self.basis.check_shape(shape)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the diffused noisy images, shape (N, C, H, W)."""
        denoised, start = [], 0
        for vectors, _, weights in self._filters(truth, sigma):
            images = noisy[start : start + len(weights)]
            gains = weights.to(images)[:, None].view(len(images), 1, *images.shape[2:])
            denoised.append(vectors.synthesis(vectors.analysis(images) * gains))
            start += len(images)
        return torch.cat(denoised)

    def risk(self, truth: Truth, sigma: float) -> Tensor:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64: bias^2 + variance."""
        return torch.cat(
            [_risks(weights[:, None], energy, sigma).mean((1, 2)) for _, energy, weights in self._filters(truth, sigma)]
        )

    def _filters(self, truth: Truth, sigma: float) -> Iterator[tuple[Basis, Tensor, Tensor]]:
        """Yield harmonics, squared clean coefficients (N, C, d), and eigenvalues of the filters (N, d), by parts."""
        for part in self.basis.parts(truth):
            vectors, values = self.basis.spectrum(part.clean)
            energy = vectors.analysis(part.clean.double()).flatten(2).square()
            yield vectors, energy, self._weights(energy.mean(1), values, sigma)

    def _weights(self, energy: Tensor, values: Tensor, sigma: float) -> Tensor:
        """Return the eigenvalues of the filter, shape (N, d), for ``time``, ``trace_fraction`` or the best time."""
        if self.trace_fraction is not None:
            traces = values.new_full(values.shape[:1], self.trace_fraction * values.shape[1])
            return self._kernel(solve_strength(values, traces, self._kernel)[:, None] * values)
        times = TIMES.to(values) if self.time is None else values.new_tensor([self.time])
        candidates = self._kernel(times[:, None, None] * values)
        best = _risks(candidates, energy, sigma).sum(2).argmin(0)
        return candidates[best, torch.arange(len(values), device=best.device)]

    def _kernel(self, products: Tensor) -> Tensor:
        return torch.exp(-products) if self.kernel == "heat" else damping(products)


def _risks(weights: Tensor, energy: Tensor, sigma: float) -> Tensor:
    """Return bias^2 + variance of weighted coefficients."""
    return (1 - weights).square() * energy + weights.square() * sigma**2
