"""The directional part of a filter: what remains without the part that is isotropic about every pixel."""

from __future__ import annotations

import warnings
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from gahbench._util.shapes import Shape
from gahbench.devices.hardware import hardware

#: Steps of conjugate gradients.
STEPS = 64
#: Sets of entries that are solved for together on a CPU: what leaves its cache takes longer than arithmetic.
TOGETHER = 2048
#: The least divisor.
_TINY = 1e-30


def directional(filters: Tensor, shape: Shape, steps: int = STEPS) -> Tensor:
    """Project symmetric filters on those that have no isotropic part.

    A filter A is isotropic if A(p, p + u) depends, for each pixel p, on u only up to the eight symmetries of the grid:
    reflections and quarter turns. The space of A + A' is projected out: a blur whose width follows the image, isotropic
    at every pixel, is left with nothing. With Q the mean over each set of symmetric offsets, A solves A + Q A' = Q S,
    by conjugate gradients.

    Parameters
    ----------
    filters
        Symmetric, shape (N, d, d).
    shape
        Shape (C, H, W) of the images, of d values; each pair of channels has sets of its own.
    steps
        Of conjugate gradients, at most; 64 leave about a thousandth of it on images of 32x32.

    Returns
    -------
    Tensor
        Shape (N, d, d), symmetric.

    Examples
    --------
    >>> import torch
    >>> across = torch.zeros(1, 9, 9)
    >>> across[0, 4, [3, 5]] = across[0, [3, 5], 4] = 1.0  # Joins the middle pixel and those left and right of it.
    >>> bool(directional(across, (1, 3, 3)).norm() > 0.3)
    True
    >>> everywhere = torch.ones(1, 9, 9)
    >>> bool(directional(everywhere, (1, 3, 3)).norm() < 1e-6)
    True
    """
    count, size, _ = filters.shape
    averaged, across, groups, sizes = _orbits(shape, filters.dtype, filters.device)
    # Exactly symmetric: no A + A' is near an antisymmetric part, and steps towards it diverge.
    filters = (filters + filters.mT) / 2
    # The image index last: sums over sets of entries then run along memory.
    flat = filters.reshape(count, -1).mT.contiguous()
    # A is constant on sets of entries: a value for each set, (G, N), and Q A' is a sparse product.
    lengths = [len(block) for block in across]
    parts = zip(across, torch.split(averaged @ flat, lengths), torch.split(sizes, lengths), strict=True)
    found = torch.cat([_solved(*part, steps) for part in parts])
    isotropic = found[groups].mT.reshape(count, size, size)
    return filters - isotropic - isotropic.mT


def _solved(across: Tensor, rest: Tensor, sizes: Tensor, steps: int) -> Tensor:
    """Return A of A + across A = rest, (G, N), by conjugate gradients in the inner product with weights (G, 1)."""
    found, direction = torch.zeros_like(rest), rest
    power = (sizes * rest * rest).sum(0)
    # Smaller residuals are rounding, along which steps diverge.
    rounding = torch.finfo(power.dtype).eps
    enough = rounding**1.2 * power
    for _ in range(steps):
        moved = direction + across @ direction
        # Directions in the null space of A + A' carry only rounding error.
        curvature = (sizes * direction * moved).sum(0)
        goes_on = (power > enough) & (curvature > 10 * rounding * power)
        if not goes_on.any():
            break
        length = torch.where(goes_on, power / curvature.clamp_min(_TINY), 0.0)
        found = found + length * direction
        rest = rest - length * moved
        before, power = power, (sizes * rest * rest).sum(0)
        direction = rest + torch.where(goes_on, power / before.clamp_min(_TINY), 0.0) * direction
    return found


@lru_cache(maxsize=4)
def _orbits(
    shape: Shape, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, tuple[Tensor, ...], Tensor, Tensor]:
    """Return what finds the isotropic part of matrices of images of a shape."""
    channels, height, width = shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([rows.flatten(), columns.flatten()], 1).repeat(channels, 1)
    channel = torch.arange(channels).repeat_interleave(height * width)
    offsets = (place[:, None] - place).abs()
    side = max(height, width)
    offset = offsets.amax(-1) * side + offsets.amin(-1)
    # An entry and its transpose have one offset: sorted by it, sets of different offsets have nothing to do with each
    # other.
    labels = ((offset * channels + channel) * len(place) + torch.arange(len(place))[:, None]).flatten()
    sets, groups, members = torch.unique(labels, return_inverse=True, return_counts=True)
    shares = (1 / members[groups].double()).to(dtype)
    averaged = _sparse(groups, torch.arange(len(groups)), shares, (len(members), len(groups)))
    order = torch.argsort(groups)
    of_rows, of_columns = groups[order], groups.reshape(len(place), len(place)).mT.flatten()[order]
    weights = shares[order]
    blocks = []
    together = len(sets) if hardware(device).has_large_batches else TOGETHER
    for start, end in pairwise(_cuts(sets // (channels * len(place)), together)):
        chosen = slice(*(int(torch.searchsorted(of_rows, edge)) for edge in (start, end)))
        size = end - start
        block = _sparse(of_rows[chosen] - start, of_columns[chosen] - start, weights[chosen], (size, size))
        blocks.append(block.to(device))
    return averaged.to(device), tuple(blocks), groups.to(device), members.to(device, dtype)[:, None]


def _cuts(offsets: Tensor, together: int) -> list[int]:
    """Return where to cut sorted offsets, between different ones, so that parts have some ``together`` at most."""
    ends = [0, *(offsets.diff().nonzero()[:, 0] + 1).tolist(), len(offsets)]
    cuts = [0]
    for before, end in pairwise(ends):
        if end - cuts[-1] > together and before > cuts[-1]:
            cuts.append(before)
    return [*cuts, len(offsets)]


def _sparse(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        # Silence torch's warning that sparse CSR tensors are in beta.
        warnings.simplefilter("ignore")
        return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape).coalesce().to_sparse_csr()
