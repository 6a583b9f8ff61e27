"""What of a filter is directional: the rest of it, once it is the same in all eight directions about every pixel."""

from __future__ import annotations

import warnings
from functools import lru_cache

import torch
from torch import Tensor

from gahbench._util.shapes import Shape

#: Steps of conjugate gradients.
STEPS = 24
#: Below it a number is taken for it where it divides.
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
        Of conjugate gradients; 24 leave a few hundredths of it on natural images of 24x24.

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
    # The image index last: sums over sets of entries then run along memory.
    flat = filters.reshape(count, -1).mT.contiguous()
    # A is constant on sets of entries: a value for each set, (G, N), and Q A' is a sparse product.
    rest = averaged @ flat
    found, way = torch.zeros_like(rest), rest
    power = (sizes * rest * rest).sum(0)
    # Beyond it there is rounding only, and steps would lead anywhere.
    enough = torch.finfo(power.dtype).eps ** 1.2 * power
    for _ in range(steps):
        moved = way + across @ way
        goes_on = power > enough
        length = torch.where(goes_on, power / (sizes * way * moved).sum(0).clamp_min(_TINY), 0.0)
        found = found + length * way
        rest = rest - length * moved
        before, power = power, (sizes * rest * rest).sum(0)
        way = rest + torch.where(goes_on, power / before.clamp_min(_TINY), 0.0) * way
    isotropic = found[groups].mT.reshape(count, size, size)
    return filters - isotropic - isotropic.mT


@lru_cache(maxsize=4)
def _orbits(shape: Shape, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what finds the isotropic part of matrices of images of a shape.

    Returns
    -------
    tuple of Tensor
        The mean over each set of entries (p, q) that are symmetric about p, as a sparse matrix (G, d * d); the mean
        over each set of the values that sets of the transposed entries have, (G, G), sparse; the set of each entry, (d
        * d,); how many entries each set has, (G, 1).
    """
    channels, height, width = shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([rows.flatten(), columns.flatten()], 1).repeat(channels, 1)
    channel = torch.arange(channels).repeat_interleave(height * width)
    offsets = (place[:, None] - place).abs()
    side = max(height, width)
    orbit = (channel * side + offsets.amax(-1)) * side + offsets.amin(-1)
    labels = (torch.arange(len(place))[:, None] * (channels * side * side) + orbit).flatten()
    _, groups, members = torch.unique(labels, return_inverse=True, return_counts=True)
    turned = groups.reshape(len(place), len(place)).mT.flatten()
    shares = (1 / members[groups].double()).to(dtype)
    with warnings.catch_warnings():
        # That sparse matrices are new.
        warnings.simplefilter("ignore")
        averaged, across = (
            torch.sparse_coo_tensor(torch.stack([groups, others]), shares, (len(members), columns_of))
            .coalesce()
            .to_sparse_csr()
            .to(device)
            for others, columns_of in ((torch.arange(len(groups)), len(groups)), (turned, len(members)))
        )
    return averaged, across, groups.to(device), members.to(device, dtype)[:, None]
