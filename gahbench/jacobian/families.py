"""Families of filters that shrink in the bases of images, at any strength."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from gahbench._util.shapes import Shape
from gahbench.jacobian.maps import DenseMaps, LinearMaps

#: Ends of the natural logarithm of mu.
LOG_RANGE = (-60.0, 60.0)
#: Bisections of the range, to 0.12, in which the trace is nearly linear; then steps of Newton's method, which double
#: the number of digits.
BISECTIONS = 10
NEWTON_STEPS = 4
#: A trace is reached if one differs from it by less than this share of the number of values.
TOLERANCE = 1e-6


class FilterFamily(ABC):
    """Filters W_i(t) of N images, one for each trace t that the filters of an image can have.

    Parameters
    ----------
    count
        N.
    shape
        Shape (C, H, W) of the images.
    """

    def __init__(self, count: int, shape: Shape) -> None:
        self.count = count
        self.shape = shape

    @abstractmethod
    def reaches(self, traces: Tensor) -> Tensor:
        """Return whether each image has a filter of its trace, shape (N,), for traces of shape (N,)."""

    @abstractmethod
    def at(self, traces: Tensor) -> LinearMaps:
        """Return the filter of each image that has its trace, or the nearest that there is.

        Parameters
        ----------
        traces
            Shape (N,).
        """

    @property
    def bytes(self) -> int:
        """Memory that it holds."""
        return 0

    def exchanged(self, filters: Tensor, traces: Tensor, places: Tensor) -> Tensor | None:
        """Return how much filters agree with those of all images at their strength; see :class:`DiagonalFamily`.

        ``None`` where they cannot be computed, as by default.
        """
        return None


class DiagonalFamily(FilterFamily):
    """Filters W_i(t) = Y_i' diag(w) A_i with weights w_k = 1 / (1 + mu v_ik), mu such that the trace is t.

    With v_ik = level_k^2 / c_k^2 and mu = nu^2 they are oracle shrinkage for noise of standard deviation nu, with
    eigenvalues of a graph Laplacian its Tikhonov filters.

    Parameters
    ----------
    values
        How fast coefficients are damped, v, shape (N, K), float64, at least 0.
    gains
        Contribution of each coefficient to the trace, (A Y')_kk, float64, broadcastable to (N, K): 1 in an orthonormal
        basis.
    shape
        Shape (C, H, W) of the images, of d values.
    atoms
        A and Y, shape (N, K, d), or (1, K, d) if all images have the same: one tensor twice in a Parseval frame;
        ``None`` where images are too large for matrices.
    maps
        Instead of them: returns the filters with weights (N, K).
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
            raise ValueError("expected either 'atoms' or 'maps'")
        self._atoms = atoms
        self._maps = maps
        self._latest: tuple[Tensor, DenseMaps] | None = None

    @property
    def bytes(self) -> int:
        """Memory that it holds."""
        held = (self._values, *(self._atoms or ()), *(() if self._latest is None else (self._latest[1].matrices(),)))
        tensors = {id(tensor): tensor for tensor in held}
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

    def weights(self, traces: Tensor, places: Tensor | None = None) -> Tensor:
        """Return the weights of images at traces, shape (..., N, K), for traces (..., N).

        Parameters
        ----------
        places
            Which images; all by default.
        """
        values, gains = self._values, self._gains
        if places is not None:
            values, gains = values[places], gains[places]
        return _damping(matching_strength(values, gains, traces)[..., None] * values)

    def reaches(self, traces: Tensor) -> Tensor:
        """Return whether each image has a filter of its trace, shape (N,): a weight is never negative, nor above 1."""
        traces = traces.to(self._values)
        found = (self.weights(traces) * self._gains).sum(-1)
        return (traces > 0) & ((found - traces).abs() < TOLERANCE * self._gains.sum(-1))

    def at(self, traces: Tensor) -> LinearMaps:
        """Return the filter of each image that has its trace, or the nearest that there is.

        In a redundant frame the latest are kept: the products take long, and several metrics of an entrant ask.
        """
        traces = traces.to(self._values)
        if self._latest is not None and torch.equal(self._latest[0], traces):
            return self._latest[1]
        weights = self.weights(traces)
        if self._maps is not None:
            return self._maps(weights)
        assert self._atoms is not None
        analysis, synthesis = self._atoms
        found = DenseMaps(synthesis.mT @ (weights.to(analysis)[..., None] * analysis), self.shape)
        if analysis.shape[-2] > analysis.shape[-1]:
            self._latest = (traces.clone(), found)
        return found

    def exchanged(self, filters: Tensor, traces: Tensor, places: Tensor) -> Tensor | None:
        """Return how much filters R_i agree with those of the images j, all at the strength of i.

        With W_j = W_j(t_i) and W the mean of the W_k(t_i) over the given images, it is <R_i, W_j - W> / |W_j - W|:
        which geometry fits, where all are equally strong. It is computed from weights and atoms, not from M^2 filters.

        Parameters
        ----------
        filters
            Symmetric R_i, shape (M, d, d).
        traces
            Their strengths t_i, shape (M,).
        places
            Their images, shape (M,).

        Returns
        -------
        Tensor or None
            Shape (M, M), float64; a row is 0 where the filters of all images are the same. ``None`` where images are
            too large for matrices.
        """
        if self._atoms is None:
            return None
        analysis, synthesis = self._atoms
        # Weights of image j at the strength of image i.
        weights = self.weights(traces.to(self._values)[:, None].expand(-1, len(places)), places).to(analysis)
        alike = len(analysis) == 1
        if not alike:
            is_parseval = synthesis is analysis
            analysis = analysis[places]
            synthesis = analysis if is_parseval else synthesis[places]
        filters = filters.to(analysis)
        products, squares = (_of_one_basis if alike else _of_own_bases)(filters, weights, analysis, synthesis)
        products = products - products.mean(1, keepdim=True)
        scale = squares.amax(1, keepdim=True)
        return torch.where(squares > 1e-9 * scale, products / squares.clamp_min(1e-300).sqrt(), 0.0)


def matching_strength(values: Tensor, gains: Tensor, traces: Tensor) -> Tensor:
    """Return mu such that sum_k gain_k / (1 + mu v_k) is the trace."""
    traces = traces.to(values)
    low, high = (torch.full_like(traces, end) for end in LOG_RANGE)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        excess = (gains * _damping(middle.exp()[..., None] * values)).sum(-1) > traces
        low, high = torch.where(excess, middle, low), torch.where(excess, high, middle)
    found = (low + high) / 2
    for _ in range(NEWTON_STEPS):
        kept = _damping(found.exp()[..., None] * values)
        parts = gains * kept
        # The derivative of 1 / (1 + e^x v) in x is -w (1 - w).
        slope = (parts * (1 - kept)).sum(-1).clamp_min(1e-300)
        found = (found + (parts.sum(-1) - traces) / slope).clamp(low, high)
    return found.exp()


def _damping(products: Tensor) -> Tensor:
    return 1 / (1 + products)


def _of_one_basis(filters: Tensor, weights: Tensor, analysis: Tensor, synthesis: Tensor) -> tuple[Tensor, Tensor]:
    """Return <R_i, W_ij> and |W_ij - mean_k W_ik|^2, shape (M, M), float64, for weights (M, M, K) in one basis."""
    atoms, duals = analysis[0], synthesis[0]
    # (A R_i Y')_kk of every image.
    diagonals = torch.stack([((atoms @ one) * duals).sum(1) for one in filters])
    products = torch.einsum("ijk,ik->ij", weights.double(), diagonals.double())
    overlaps = _overlaps(atoms, duals, atoms, duals, synthesis is analysis)
    rest = weights - weights.mean(1, keepdim=True)
    squares = torch.stack([((one @ overlaps) * one).double().sum(1) for one in rest])
    return products, squares


def _of_own_bases(filters: Tensor, weights: Tensor, analysis: Tensor, synthesis: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same for bases of each image, shape (M, K, d)."""
    count = len(analysis)
    products = weights.new_empty(count, count, dtype=torch.float64)
    # <W_ij, W_ik>, all of which i shares its strength with.
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
    """Return <a_k' b_k, c_l' d_l> of the symmetric parts of the parts of two filters, shape (K, L)."""
    if is_parseval:
        return (atoms @ others.mT).square()
    straight = (duals @ other_duals.mT) * (atoms @ others.mT)
    return (straight + (atoms @ other_duals.mT) * (duals @ others.mT)) / 2
