"""Families of filters that shrink coefficients in bases, parametrised by the trace of the filter."""

from __future__ import annotations

from abc import ABC, abstractmethod
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


class FilterFamily(ABC):
    """Filters W_i(t) of N images for every trace t in the range of the family.

    Parameters
    ----------
    count
        Number N of images.
    shape
        Shape (C, H, W) of the images.

    Examples
    --------
    >>> import gahbench
    >>> images = gahbench.create("dataset", "discs", size=8).images("test", 2)
    >>> family = gahbench.create("basis", "haar").filters(gahbench.Truth(images), sigma=0.1)
    >>> family.count, family.shape
    (2, (1, 8, 8))
    """

    def __init__(self, count: int, shape: Shape) -> None:
        self.count = count
        self.shape = shape

    @abstractmethod
    def reaches(self, traces: Tensor) -> Tensor:
        """Return whether each image has a filter with the requested trace; shape (N,) for traces of shape (N,)."""

    @abstractmethod
    def at(self, traces: Tensor) -> LinearMaps:
        """Return the filter of each image with the requested trace, or with the nearest possible trace.

        Parameters
        ----------
        traces
            Requested traces, shape (N,).
        """

    @property
    def bytes(self) -> int:
        """Memory that the family uses, in bytes."""
        return 0

    def pairwise_agreement(self, filters: Tensor, traces: Tensor, indices: Tensor) -> Tensor | None:
        """Return the agreement of filters with the filters of all images at equal trace; see :class:`DiagonalFamily`.

        The default implementation returns ``None``, which means that the agreement cannot be computed.
        """
        return None


class DiagonalFamily(FilterFamily):
    """Filters W_i(t) = Y_i' diag(w) A_i with weights w_k = 1 / (1 + mu v_ik), where mu makes the trace equal to t.

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
    >>> family = DiagonalFamily(torch.tensor([[0.0, 1.0, 2.0, 3.0]]).double(), torch.ones(1, 4), (1, 2, 2), (eye, eye))
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
        super().__init__(len(values), shape)
        self._values = values
        self._gains = gains.expand(values.shape)
        if (atoms is None) == (maps is None):
            raise ValueError("expected either 'atoms' or 'maps', not both or neither")
        self._atoms = atoms
        self._maps = maps
        self._latest: tuple[Tensor, DenseMaps] | None = None

    @property
    def bytes(self) -> int:
        """Memory that the family uses, in bytes."""
        stored = (self._values, *(self._atoms or ()), *(() if self._latest is None else (self._latest[1].matrices(),)))
        tensors = {id(tensor): tensor for tensor in stored}
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

    def weights(self, traces: Tensor, indices: Tensor | None = None) -> Tensor:
        """Return the weights of filters with the requested traces, shape (..., N, K), for traces of shape (..., N).

        Parameters
        ----------
        indices
            Indices of the images; all images by default.
        """
        values, gains = self._values, self._gains
        if indices is not None:
            values, gains = values[indices], gains[indices]
        return _damping(matching_strength(values, gains, traces)[..., None] * values)

    def reaches(self, traces: Tensor) -> Tensor:
        """Return whether each image has a filter with the requested trace, shape (N,), as weights lie in [0, 1]."""
        traces = traces.to(self._values)
        reached = (self.weights(traces) * self._gains).sum(-1)
        return (traces > 0) & ((reached - traces).abs() < TOLERANCE * self._gains.sum(-1))

    def at(self, traces: Tensor) -> LinearMaps:
        """Return the filter of each image with the requested trace, or with the nearest possible trace.

        In a redundant frame, the latest filters are cached: they are slow to compute and used by several metrics.
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
        is_shared = len(analysis) == 1
        if not is_shared:
            is_parseval = synthesis is analysis
            analysis = analysis[indices]
            synthesis = analysis if is_parseval else synthesis[indices]
        filters = filters.to(analysis)
        products, squares = (_products_in_shared_basis if is_shared else _products_in_own_bases)(
            filters, weights, analysis, synthesis
        )
        products = products - products.mean(1, keepdim=True)
        scale = squares.amax(1, keepdim=True)
        return torch.where(squares > 1e-9 * scale, products / squares.clamp_min(1e-300).sqrt(), 0.0)


def matching_strength(values: Tensor, gains: Tensor, traces: Tensor) -> Tensor:
    """Return mu such that sum_k gain_k / (1 + mu v_k) equals the trace."""
    traces = traces.to(values)
    low, high = (torch.full_like(traces, end) for end in LOG_RANGE)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        is_above = (gains * _damping(middle.exp()[..., None] * values)).sum(-1) > traces
        low, high = torch.where(is_above, middle, low), torch.where(is_above, high, middle)
    log_mu = (low + high) / 2
    for _ in range(NEWTON_STEPS):
        weights = _damping(log_mu.exp()[..., None] * values)
        parts = gains * weights
        # The derivative of 1 / (1 + e^x v) in x is -w (1 - w).
        slope = (parts * (1 - weights)).sum(-1).clamp_min(1e-300)
        log_mu = (log_mu + (parts.sum(-1) - traces) / slope).clamp(low, high)
    return log_mu.exp()


def _damping(products: Tensor) -> Tensor:
    return 1 / (1 + products)


def _products_in_shared_basis(
    filters: Tensor, weights: Tensor, analysis: Tensor, synthesis: Tensor
) -> tuple[Tensor, Tensor]:
    """Return <R_i, W_ij> and |W_ij - mean_k W_ik|^2, shape (M, M), float64, for weights (M, M, K) in a shared basis."""
    atoms, duals = analysis[0], synthesis[0]
    # Diagonal elements (A R_i Y')_kk of each image.
    diagonals = torch.stack([((atoms @ matrix) * duals).sum(1) for matrix in filters])
    products = torch.einsum("ijk,ik->ij", weights.double(), diagonals.double())
    overlaps = _overlaps(atoms, duals, atoms, duals, synthesis is analysis)
    centred = weights - weights.mean(1, keepdim=True)
    squares = torch.stack([((row @ overlaps) * row).double().sum(1) for row in centred])
    return products, squares


def _products_in_own_bases(
    filters: Tensor, weights: Tensor, analysis: Tensor, synthesis: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the products of :func:`_products_in_shared_basis` if each image has its own basis, shape (M, K, d)."""
    count = len(analysis)
    products = weights.new_empty(count, count, dtype=torch.float64)
    # Products <W_ij, W_ik> of filters at the trace of image i.
    inner = weights.new_empty(count, count, count, dtype=torch.float64)
    for j in range(count):
        atoms, duals = analysis[j], synthesis[j]
        diagonals = ((filters @ atoms.mT) * duals.mT).sum(1)
        products[:, j] = (weights[:, j] * diagonals).double().sum(1)
        for k in range(j, count):
            overlaps = _overlaps(atoms, duals, analysis[k], synthesis[k], synthesis is analysis)
            inner[:, j, k] = inner[:, k, j] = ((weights[:, j] @ overlaps) * weights[:, k]).double().sum(1)
    own = inner.diagonal(dim1=1, dim2=2)
    return products, own - 2 * inner.mean(2) + inner.mean((1, 2))[:, None]


def _overlaps(atoms: Tensor, duals: Tensor, others: Tensor, other_duals: Tensor, is_parseval: bool) -> Tensor:
    """Return <sym(a_k' b_k), sym(c_l' d_l)>, for rows of two filters, shape (K, L); sym is the symmetric part."""
    if is_parseval:
        return (atoms @ others.mT).square()
    direct = (duals @ other_duals.mT) * (atoms @ others.mT)
    return (direct + (atoms @ other_duals.mT) * (duals @ others.mT)) / 2
