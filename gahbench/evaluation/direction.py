"""The directional part of filters: a projection that removes the part that is isotropic about every pixel."""

from __future__ import annotations

import warnings
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from gahbench._util.shapes import Shape
from gahbench.devices.hardware import hardware

#: Default maximum number of conjugate-gradient steps.
STEPS = 64
#: Maximum number of sets of entries that are solved together on a CPU, so that they fit into its cache.
MAX_BLOCK = 2048
#: Lower bound of divisors.
_TINY = 1e-30


def directional(filters: Tensor, shape: Shape, steps: int = STEPS) -> Tensor:
    """Project symmetric filters onto filters without an isotropic part.

    A filter A is isotropic if, for each pixel p, A(p, p + u) depends on u only up to the eight symmetries of the grid:
    reflections and quarter turns. The projection removes the space of all A + A'. So a blur whose width follows the
    image, but which is isotropic at every pixel, is projected to 0. With Q the mean over each set of symmetric offsets,
    A solves A + Q A' = Q S; the solver is conjugate gradients.

    Parameters
    ----------
    filters
        Symmetric filters S, shape (N, d, d).
    shape
        Shape (C, H, W) of the images, with d = C H W; each pair of channels has its own sets of offsets.
    steps
        Maximum number of conjugate-gradient steps; 64 steps leave about 0.1 % of the isotropic part on images of
        32x32.

    Returns
    -------
    Tensor
        Symmetric filters, shape (N, d, d).

    Examples
    --------
    >>> import torch
    >>> across = torch.zeros(1, 9, 9)
    >>> across[0, 4, [3, 5]] = across[0, [3, 5], 4] = 1.0  # Joins the middle pixel to its horizontal neighbours.
    >>> bool(directional(across, (1, 3, 3)).norm() > 0.3)
    True
    >>> everywhere = torch.ones(1, 9, 9)
    >>> bool(directional(everywhere, (1, 3, 3)).norm() < 1e-6)
    True
    """
    count, size, _ = filters.shape
    averaged, across, groups, sizes = _projection_operators(shape, filters.dtype, filters.device)
    # Symmetrise exactly: A + A' cannot fit an antisymmetric part, so steps towards it would diverge.
    filters = (filters + filters.mT) / 2
    # The image index comes last, so that sums over sets of entries read contiguous memory.
    flat = filters.reshape(count, -1).mT.contiguous()
    # A is constant on sets of entries, so it has a value for each set, shape (G, N), and Q A' is a sparse product.
    lengths = [len(block) for block in across]
    parts = zip(across, torch.split(averaged @ flat, lengths), torch.split(sizes, lengths), strict=True)
    solution = torch.cat([_solve(*part, steps) for part in parts])
    isotropic = solution[groups].mT.reshape(count, size, size)
    return filters - isotropic - isotropic.mT


def _solve(across: Tensor, residual: Tensor, sizes: Tensor, steps: int) -> Tensor:
    """Solve A + across A = residual for A, (G, N), by conjugate gradients with weights ``sizes`` (G, 1)."""
    solution, direction = torch.zeros_like(residual), residual
    power = (sizes * residual * residual).sum(0)
    # Smaller residuals are rounding, and further steps would diverge.
    rounding = torch.finfo(power.dtype).eps
    stop_power = rounding**1.2 * power
    for _ in range(steps):
        image = direction + across @ direction
        # Directions in the null space of A + A' carry only rounding error.
        curvature = (sizes * direction * image).sum(0)
        is_active = (power > stop_power) & (curvature > 10 * rounding * power)
        if not is_active.any():
            break
        length = torch.where(is_active, power / curvature.clamp_min(_TINY), 0.0)
        solution = solution + length * direction
        residual = residual - length * image
        previous_power, power = power, (sizes * residual * residual).sum(0)
        direction = residual + torch.where(is_active, power / previous_power.clamp_min(_TINY), 0.0) * direction
    return solution


@lru_cache(maxsize=4)
def _projection_operators(
    shape: Shape, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, tuple[Tensor, ...], Tensor, Tensor]:
    """Return the operators of the projection: averages Q, blocks of Q A', the set of each entry, and sizes of sets."""
    channels, height, width = shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    position = torch.stack([rows.flatten(), columns.flatten()], 1).repeat(channels, 1)
    channel = torch.arange(channels).repeat_interleave(height * width)
    offsets = (position[:, None] - position).abs()
    side = max(height, width)
    offset = offsets.amax(-1) * side + offsets.amin(-1)
    # An entry and its transpose have the same offset. So if sets are sorted by offset, different offsets are
    # independent blocks.
    labels = ((offset * channels + channel) * len(position) + torch.arange(len(position))[:, None]).flatten()
    sets, groups, members = torch.unique(labels, return_inverse=True, return_counts=True)
    shares = (1 / members[groups].double()).to(dtype)
    averaged = _sparse(groups, torch.arange(len(groups)), shares, (len(members), len(groups)))
    order = torch.argsort(groups)
    row_sets, column_sets = groups[order], groups.reshape(len(position), len(position)).mT.flatten()[order]
    weights = shares[order]
    blocks = []
    block_size = len(sets) if hardware(device).is_accelerator else MAX_BLOCK
    for start, end in pairwise(_block_edges(sets // (channels * len(position)), block_size)):
        chosen = slice(*(int(torch.searchsorted(row_sets, edge)) for edge in (start, end)))
        size = end - start
        block = _sparse(row_sets[chosen] - start, column_sets[chosen] - start, weights[chosen], (size, size))
        blocks.append(block.to(device))
    return averaged.to(device), tuple(blocks), groups.to(device), members.to(device, dtype)[:, None]


def _block_edges(offsets: Tensor, max_size: int) -> list[int]:
    """Return edges of blocks of sorted offsets; equal offsets share a block, even beyond ``max_size``."""
    ends = [0, *(offsets.diff().nonzero()[:, 0] + 1).tolist(), len(offsets)]
    cuts = [0]
    for previous_end, end in pairwise(ends):
        if end - cuts[-1] > max_size and previous_end > cuts[-1]:
            cuts.append(previous_end)
    return [*cuts, len(offsets)]


def _sparse(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        # Silence torch's warning that sparse CSR tensors are in beta.
        warnings.simplefilter("ignore")
        return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape).coalesce().to_sparse_csr()
