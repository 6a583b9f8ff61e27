"""The best quadtree and the best direction in each of its squares, by dynamic programming from the smallest up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .alpert import alpert_matrix
from .orderings import Orderings
from .squares import Squares

#: Numbers that are transformed at once: few enough for memory, whatever the batch, and for a processor's cache.
TOGETHER = 1 << 20
#: Costs are compared in steps of threshold^2 over this number: ties in exact arithmetic are decided by the order of
#: the choices, and not by rounding.
STEPS = 1024


@dataclass(frozen=True, eq=False)
class Choice:
    """The choices for all squares of one side.

    Parameters
    ----------
    leaves
        Whether a square is part of the partition: neither cut nor part of a larger one; bool, shape (B, S).
    directions
        The direction of each square, -1 where coefficients are left as they are; int64, shape (B, S).
    """

    leaves: Tensor
    directions: Tensor


def best_choices(
    coefficients: Tensor,
    squares: Sequence[Squares],
    directions: Sequence[Orderings],
    moments: int,
    threshold: float,
    price: float,
) -> list[Choice]:
    """Return the partition and the directions of least cost.

    The cost is the sum of min(c^2, threshold^2) over all coefficients, plus threshold^2 ``price`` times the bits
    that describe the geometry: one for each square larger than the smallest (is it cut?), one for each leaf (has it
    a direction?), and log2 of the number of directions where it has.

    Parameters
    ----------
    coefficients
        Flattened, shape (B, P).
    squares, directions
        From the smallest side on.
    threshold
        Greater than 0.
    """
    bit = price * STEPS
    costs: list[Tensor] = []
    chosen: list[Tensor] = []
    cut: list[Tensor] = []
    for level, orders in zip(squares, directions, strict=True):
        prices = torch.full((1 + len(orders),), bit * (1 + math.log2(len(orders))), device=coefficients.device)
        prices[0] = bit
        cost, direction = _best_directions(coefficients, level, orders, moments, threshold, prices)
        if costs:
            parts = costs[-1][:, level.quarters].sum(dim=2)
            cut.append(parts < cost)
            cost = torch.minimum(parts, cost) + bit
        else:
            cut.append(torch.zeros_like(direction, dtype=torch.bool))
        costs.append(cost)
        chosen.append(direction)
    return _partition(squares, cut, chosen) if squares else []


def _best_directions(
    coefficients: Tensor, squares: Squares, orders: Orderings, moments: int, threshold: float, prices: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the least cost of each square, in steps, and its direction, shape (B, S) both."""
    samples = squares.samples.to(coefficients.device)
    size = samples.shape[1]
    matrix = alpert_matrix(size, moments, coefficients.dtype, coefficients.device)
    # The inverse of an ordering moves the columns of the matrix to the samples that they are for.
    ranks = orders.samples.argsort(dim=1).to(coefficients.device)
    number = len(coefficients) * len(squares)
    blocks = coefficients[:, samples].reshape(number, -1) / threshold
    best = coefficients.new_empty(number)
    choice = samples.new_empty(number)
    rows = max(1, TOGETHER // size)
    # Many directions at once where squares are few: their matrices, too, must fit.
    group = max(1, TOGETHER // (size * min(max(number, size), rows)))
    for start in range(0, number, rows):
        part = blocks[start : start + rows]
        costs = part.new_empty(1 + len(ranks), len(part))
        costs[0] = part.square().clamp_(max=1).sum(dim=1)
        for first in range(0, len(ranks), group):
            # Shape (directions, size, size), and then all their rows.
            turned = matrix[:, ranks[first : first + group]].transpose(0, 1).flatten(0, 1)
            capped = (part @ turned.T).square_().clamp_(max=1)
            costs[first + 1 : first + 1 + group] = capped.reshape(len(part), -1, size).sum(dim=2).T
        costs = costs.mul_(STEPS).round_() + prices[:, None]
        best[start : start + rows], choice[start : start + rows] = costs.min(dim=0)
    shape = (len(coefficients), len(squares))
    return best.reshape(shape), choice.reshape(shape) - 1


def _partition(squares: Sequence[Squares], cut: Sequence[Tensor], chosen: Sequence[Tensor]) -> list[Choice]:
    """Follow the cuts from the largest squares down."""
    choices: list[Choice] = []
    reached = torch.ones_like(cut[-1])
    for number in reversed(range(len(squares))):
        choices.append(Choice(reached & ~cut[number], chosen[number]))
        if number == 0:
            break
        # A quarter is reached if the square that it is part of is cut, or if it is part of none.
        quarters = squares[number].quarters.flatten().to(cut[number].device)
        below = torch.ones_like(cut[number - 1])
        below[:, quarters] = (reached & cut[number]).repeat_interleave(4, dim=1)
        reached = below
    return choices[::-1]
