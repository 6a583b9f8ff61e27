"""Whether filters follow the geometry of their own images: geometries exchanged between images, at equal strength."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench._util.noise import generator

#: Random permutations that the significance is estimated from.
PERMUTATIONS = 9999


def exchange_significance(table: Tensor, permutations: int = PERMUTATIONS) -> float:
    """Return the share of permutations of the images under which filters agree as well as with their own geometries.

    Parameters
    ----------
    table
        T_ij, how much the filter of image i agrees with the geometry of image j at the strength of i, shape (M, M); see
        :meth:`gahbench.jacobian.FilterFamily.exchanged`.
    permutations
        How many are drawn, always the same.

    Returns
    -------
    float
        The p-value of sum_i T_ii, from 1 / (1 + permutations) to 1: the permutation that leaves all as it is counts.

    Examples
    --------
    >>> import torch
    >>> exchange_significance(torch.eye(30)), exchange_significance(torch.ones(30, 30))
    (0.0001, 1.0)
    """
    table = table.double().cpu()
    count = len(table)
    draw = generator("noise", "exchange", count)
    orders = torch.rand(permutations, count, generator=draw).argsort(1)
    sums = table[torch.arange(count), orders].sum(1)
    own = table.diagonal().sum()
    # Sums of the same numbers in another order differ by rounding.
    as_good = sums >= own - 1e-12 * table.abs().sum(1).max() * count
    return (1 + int(as_good.sum())) / (1 + permutations)


def retrieved(table: Tensor) -> Tensor:
    """Return 1 where of all geometries an image's own agrees the most with its filter, else 0, shape (M,), float64.

    Parameters
    ----------
    table
        T_ij, shape (M, M).
    """
    return (table.argmax(1) == torch.arange(len(table), device=table.device)).double().cpu()
