"""Families of filters that shrink coefficients in bases, parametrised by the trace of the filter."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gahbench._util.shapes import Shape
from gahbench.jacobian.maps import DenseMaps, LinearMaps

#: Range of log(mu) that is searched.
LOG_RANGE = (-60.0, 60.0)
#: Number of bisections, which narrow the range to 0.12, where the trace is nearly linear in log(mu), and of subsequent
#: Newton steps, each of which doubles the number of correct digits.
BISECTIONS = 10
NEWTON_STEPS = 4
#: Maximum error, relative to the largest possible trace, with which a filter is considered to have a requested trace.
TOLERANCE = 1e-6


class FilterFamily:
    """Filters W_i(t) = Y_i' diag(w) A_i of N images, with weights w_k = 1 / (1 + mu v_ik), where mu makes the trace t.

    With v_ik = level_k^2 / c_k^2 and mu = nu^2, the filters are oracle shrinkage for noise of standard deviation nu.
    With v_ik the eigenvalues of a graph Laplacian, they are its Tikhonov filters.

    Parameters
    ----------
    values
        Damping rates v_ik of the coefficients, shape (N, K), float64, nonnegative.
    gains
        Contribution of each coefficient to the trace, (A Y')_kk, float64, broadcastable to (N, K): 1 in an orthonormal
        basis.
    shape
        Shape (C, H, W) of the images, of d values.
    atoms
        Analysis A and synthesis Y, shape (N, K, d), or (1, K, d) if all images share them; the same tensor twice for a
        Parseval frame; ``None`` if images are too large for matrices.
    maps
        Function that returns the filters with weights of shape (N, K); given instead of ``atoms``.

    Examples
    --------
    >>> import torch
    >>> eye = torch.eye(4)[None].double()
    >>> family = FilterFamily(torch.tensor([[0.0, 1.0, 2.0, 3.0]]).double(), torch.ones(1, 4), (1, 2, 2), (eye, eye))
    >>> family.at(torch.tensor([2.0])).trace().value
    tensor([2.], dtype=torch.float64)
    """

    def __init__(
        self,
        values: Tensor,
        gains: Tensor,
        shape: Shape,
        atoms: tuple[Tensor, Tensor] | None,
        maps: Callable[[Tensor], LinearMaps] | None = None,
    ) -> None:
        if (atoms is None) == (maps is None):
            raise ValueError("expected either 'atoms' or 'maps', not both or neither")
        self.count, self.shape = len(values), shape
        self._values, self._gains = values, gains.expand(values.shape)
        self._atoms, self._maps = atoms, maps
        self._latest: tuple[Tensor, DenseMaps] | None = None

    @property
    def bytes(self) -> int:
        """Memory that the family uses, in bytes."""
        stored = (self._values, *(self._atoms or ()), *(() if self._latest is None else (self._latest[1].like,)))
        return sum(tensor.nbytes for tensor in {id(tensor): tensor for tensor in stored}.values())

    def weights(self, traces: Tensor, indices: Tensor | slice = slice(None)) -> Tensor:
        """Return the weights of filters with the requested traces, shape (..., N, K), for traces of shape (..., N).

        Parameters
        ----------
        indices
            Indices of the images; all images by default.
        """
        values = self._values[indices]
        return 1 / (1 + matching_strength(values, self._gains[indices], traces)[..., None] * values)

    def reaches(self, traces: Tensor) -> Tensor:
        """Return whether each image has a filter with the requested trace, shape (N,), as weights lie in [0, 1]."""
        traces = traces.to(self._values)
        reached = (self.weights(traces) * self._gains).sum(-1)
        return (traces > 0) & ((reached - traces).abs() < TOLERANCE * self._gains.sum(-1))

    def at(self, traces: Tensor) -> LinearMaps:
        """Return the filter of each image with the requested trace, or with the nearest possible trace.

        In a redundant frame, the latest filters are cached: they are slow to compute and used by several metrics.

        Parameters
        ----------
        traces
            Requested traces, shape (N,).
        """
        traces = traces.to(self._values)
        if self._latest is not None and torch.equal(self._latest[0], traces):
            return self._latest[1]
        weights = self.weights(traces)
        if self._maps is not None:
            return self._maps(weights)
        assert self._atoms is not None
        analysis, synthesis = self._atoms
        filters = DenseMaps(synthesis.mT @ (weights.to(analysis)[..., None] * analysis), self.shape)
        if analysis.shape[-2] > analysis.shape[-1]:
            self._latest = (traces.clone(), filters)
        return filters

    def pairwise_agreement(self, filters: Tensor, traces: Tensor, indices: Tensor) -> Tensor | None:
        """Return the agreement of each filter R_i with the filters of all images j at the trace t_i of image i.

        With W_j = W_j(t_i) and W the mean of the W_k(t_i) over the given images, the agreement is
        <R_i, W_j - W> / |W_j - W|: it compares geometries at equal strength. It is computed from weights and atoms,
        without forming M^2 filters.

        Parameters
        ----------
        filters
            Symmetric matrices R_i, shape (M, d, d).
        traces
            Traces t_i, shape (M,).
        indices
            Indices of the images, shape (M,).

        Returns
        -------
        Tensor or None
            Agreement, shape (M, M), float64; a row is 0 if the filters of all images are equal. ``None`` if images are
            too large for matrices.
        """
        if self._atoms is None:
            return None
        analysis, synthesis = self._atoms
        # Entry (i, j) holds the weights of image j at the trace of image i.
        weights = self.weights(traces.to(self._values)[:, None].expand(-1, len(indices)), indices).to(analysis)
        filters = filters.to(analysis)
        if len(analysis) == 1:
            atoms, duals = analysis[0], synthesis[0]
            # Diagonal elements (A R_i Y')_kk of each image.
            diagonals = torch.stack([((atoms @ matrix) * duals).sum(1) for matrix in filters])
            products = torch.einsum("ijk,ik->ij", weights.double(), diagonals.double())
            overlaps = _overlaps(atoms, duals, atoms, duals)
            centred = weights - weights.mean(1, keepdim=True)
            squares = torch.stack([((row @ overlaps) * row).double().sum(1) for row in centred])
        else:
            own = analysis[indices]
            duals = own if synthesis is analysis else synthesis[indices]
            products, squares = _products_in_own_bases(filters, weights, own, duals)
        products = products - products.mean(1, keepdim=True)
        scale = squares.amax(1, keepdim=True)
        return torch.where(squares > 1e-9 * scale, products / squares.clamp_min(1e-300).sqrt(), 0.0)


def matching_strength(values: Tensor, gains: Tensor, traces: Tensor) -> Tensor:
    """Return mu such that sum_k gain_k / (1 + mu v_k) equals the trace."""
    low, high = (torch.full_like(traces, end, dtype=values.dtype, device=values.device) for end in LOG_RANGE)
    for step in range(BISECTIONS + NEWTON_STEPS):
        if step <= BISECTIONS:
            log_mu = (low + high) / 2
        weights = 1 / (1 + log_mu.exp()[..., None] * values)
        excess = (gains * weights).sum(-1) - traces
        if step < BISECTIONS:
            low, high = torch.where(excess > 0, log_mu, low), torch.where(excess > 0, high, log_mu)
        else:
            # The derivative of 1 / (1 + e^x v) in x is -w (1 - w).
            slope = (gains * weights * (1 - weights)).sum(-1).clamp_min(1e-300)
            log_mu = (log_mu + excess / slope).clamp(low, high)
    return log_mu.exp()


def _products_in_own_bases(
    filters: Tensor, weights: Tensor, analysis: Tensor, synthesis: Tensor
) -> tuple[Tensor, Tensor]:
    """Return <R_i, W_ij> and |W_ij - mean_k W_ik|^2, (M, M), float64, for weights (M, M, K) and bases (M, K, d)."""
    count = len(analysis)
    products = weights.new_empty(count, count, dtype=torch.float64)
    # Products <W_ij, W_ik> of filters at the trace of image i.
    inner = weights.new_empty(count, count, count, dtype=torch.float64)
    for j, (atoms, duals) in enumerate(zip(analysis, synthesis, strict=True)):
        diagonals = ((filters @ atoms.mT) * duals.mT).sum(1)
        products[:, j] = (weights[:, j] * diagonals).double().sum(1)
        for k in range(j, count):
            overlaps = _overlaps(atoms, duals, analysis[k], synthesis[k])
            inner[:, j, k] = inner[:, k, j] = ((weights[:, j] @ overlaps) * weights[:, k]).double().sum(1)
    own = inner.diagonal(dim1=1, dim2=2)
    return products, own - 2 * inner.mean(2) + inner.mean((1, 2))[:, None]


def _overlaps(atoms: Tensor, duals: Tensor, others: Tensor, other_duals: Tensor) -> Tensor:
    """Return <sym(a_k' b_k), sym(c_l' d_l)>, for rows of two filters, shape (K, L); sym is the symmetric part."""
    if atoms.data_ptr() == duals.data_ptr():
        return (atoms @ others.mT).square()
    direct = (duals @ other_duals.mT) * (atoms @ others.mT)
    return (direct + (atoms @ other_duals.mT) * (duals @ others.mT)) / 2
