"""The best quadtree and the best flow in each of its squares, by dynamic programming from the smallest up."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._tensors import candidate_indices
from .alpert import alpert
from .flows import NUMBERS, Flows, parameters
from .frame import Squares

#: Numbers that are transformed at once: few enough for memory, whatever the batch, and for a processor's cache.
TOGETHER = 1 << 20
#: Costs are compared in steps of threshold^2 over this number: ties in exact arithmetic are decided by the order of
#: the choices, and not by rounding.
STEPS = 1024
#: Sides of squares in which every direction is tried. In larger ones the search begins with those of the quarters, and
#: with some that are equally spread.
ALL_DIRECTIONS = 16
SPREAD = 8


@dataclass(frozen=True)
class Price:
    """Price of the geometry, in units of a kept coefficient."""

    bit: float = 0.0
    parameter: float = 0.0

    def of_leaf(self, flows: Tensor, directions: int) -> Tensor:
        """Return the price of a leaf with each of the flows, shape (..., 3) to (...)."""
        return self.bit * (1 + math.log2(directions)) + self.parameter * parameters(flows)


@dataclass(frozen=True, eq=False)
class Choice:
    """The choices for all squares of one side."""

    leaves: Tensor
    flowing: Tensor
    flows: Tensor


def best_choices(
    coefficients: Tensor,
    squares: Sequence[Squares],
    flows: Sequence[Flows],
    moments: int,
    threshold: float,
    price: Price,
) -> list[Choice]:
    """Return the partition and the flows of least cost.

    The cost is the sum of min(c^2, threshold^2) over all coefficients, plus threshold^2 times the price of the
    geometry. All directions are tried in squares of up to :data:`ALL_DIRECTIONS` samples a side, and wherever a table
    has them; else the search goes on from the best flows of the quarters, step by step, and may miss the best.
    """
    levels: list[_Level] = []
    for level, flow in zip(squares, flows, strict=True):
        blocks = coefficients[:, level.samples.to(coefficients.device)] / threshold
        below = None
        if levels:
            below = levels[-1].quarters(level, flow)
        levels.append(_best_of_level(blocks, flow, moments, price, below))
    return _partition(squares, levels) if squares else []


@dataclass(frozen=True, eq=False)
class _Level:
    """The squares of one side: least costs in steps, whether they are cut for it, and the best flows of the others."""

    side_flows: Flows
    costs: Tensor
    cut: Tensor
    flowing: Tensor
    flows: Tensor

    def quarters(self, squares: Squares, flows: Flows) -> tuple[Tensor, Tensor]:
        """Return the cost of the quarters of larger squares, (B, S), and the flows nearest to theirs, (B, S, 4, 3)."""
        near = flows.like(self.side_flows, self.flows[:, squares.quarters])
        return self.costs[:, squares.quarters].sum(dim=2), near


def _best_of_level(
    blocks: Tensor, flows: Flows, moments: int, price: Price, below: tuple[Tensor, Tensor] | None
) -> _Level:
    """Return the best choices for squares (B, S, side^2), ``below`` of their quarters."""
    shape = blocks.shape[:2]
    blocks = blocks.flatten(0, 1)
    energy = blocks.square()
    costs = energy.clamp(max=1).sum(dim=1).mul_(STEPS).round_() + STEPS * price.bit
    # Transforms keep the energy: what they make of it costs 1, or less where there is less. A square is worth a search
    # where that is below the cost of what is there.
    bound = energy.sum(dim=1).clamp(max=1) * STEPS - 1
    bound += STEPS * float(price.of_leaf(flows.directions()[0], len(flows.angles)))
    worth = bound < costs
    if below is not None:
        worth &= bound <= below[0].flatten()
    best = torch.zeros(len(blocks), NUMBERS, dtype=torch.long, device=blocks.device)
    flowing = torch.zeros_like(worth)
    for rows in torch.split(candidate_indices(worth), max(1, TOGETHER // blocks.shape[1])):
        if len(rows) == 0:
            break
        search = _Search(blocks[rows], flows, moments, price)
        if flows.given is not None:
            choice = search.given(rows % shape[1])
        elif below is None or flows.table is not None or flows.side <= ALL_DIRECTIONS:
            choice = search.all_directions()
        else:
            choice = search.refined(below[1].flatten(0, 1)[rows])
        better = worth[rows] & (choice.costs < costs[rows])
        best[rows] = torch.where(worth[rows, None], choice.flows, 0)
        flowing[rows] = better
        costs[rows] = torch.where(better, choice.costs, costs[rows])
    cut = torch.zeros_like(worth)
    if below is not None:
        parts = below[0].flatten()
        cut = parts < costs
        costs = torch.minimum(parts, costs) + STEPS * price.bit
    return _Level(
        flows, costs.reshape(shape), cut.reshape(shape), flowing.reshape(shape), best.reshape(*shape, NUMBERS)
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """The best flow of each square so far: costs in steps, shape (R,), and flows, shape (R, 3)."""

    costs: Tensor
    flows: Tensor

    def or_better(self, other: _Found) -> _Found:
        better = other.costs < self.costs
        return _Found(
            torch.where(better, other.costs, self.costs), torch.where(better[:, None], other.flows, self.flows)
        )


@dataclass(frozen=True, eq=False)
class _Search:
    """The search for the best flows of R squares, whose samples over the threshold have shape (R, side^2)."""

    blocks: Tensor
    flows: Flows
    moments: int
    price: Price

    def given(self, numbers: Tensor) -> _Found:
        """Return the flow that is given for each square, by the numbers of the squares, shape (R,)."""
        flows = torch.zeros(len(numbers), 1, NUMBERS, dtype=torch.long, device=numbers.device)
        flows[..., 0] = numbers[:, None]
        return self._best_of(flows)

    def all_directions(self) -> _Found:
        """Try every direction, and then bend the best."""
        directions = self.flows.directions().to(self.blocks.device)
        candidates = [
            # All squares are visited in the same orders.
            self._least(self.blocks[:, self.flows.orders(group)], group.expand(len(self.blocks), -1, -1))
            for group in torch.split(directions, self._together)
        ]
        return self._bent(functools.reduce(_Found.or_better, candidates))

    def refined(self, near: Tensor) -> _Found:
        """Begin with flows (R, F, 3) and with directions that are equally spread, turn the best, and then bend it."""
        count = len(self.flows.angles)
        spread = self.flows.directions()[:: count // SPREAD].to(near.device).expand(len(near), -1, -1)
        best = self._best_of(torch.cat([near, spread], dim=1))
        step = count // (2 * SPREAD)
        while step:
            best = self._or_moved(best, [(step, 0, 0), (-step, 0, 0)])
            step //= 2
        return self._bent(best)

    def _bent(self, best: _Found) -> _Found:
        """Bend and turn together: the best straight line along an arc is often a tangent of a part of it."""
        if self.flows.degree == 1:
            return best
        step = self.flows.largest_bend // 2
        # A bend of one turns the contour at the end of the square by about one direction.
        turns = (-step, -(step // 2), 0, step // 2, step)
        best = self._or_moved(best, [(turn, bend * step, 0) for bend in (-2, -1, 1, 2) for turn in turns])
        while step:
            moves = [(turn, bend, 0) for turn in (-step, 0, step) for bend in (-step, 0, step) if turn or bend]
            if self.flows.degree == 3:
                moves += [(0, 0, step), (0, 0, -step)]
            best = self._or_moved(best, moves)
            step = (step + 1) // 2 if step > 1 else 0
        return best

    def _or_moved(self, best: _Found, moves: list[tuple[int, int, int]]) -> _Found:
        return best.or_better(self._best_of(torch.stack([self.flows.moved(best.flows, move) for move in moves], dim=1)))

    def _best_of(self, flows: Tensor) -> _Found:
        """Return the best of flows (R, F, 3)."""
        candidates = []
        for group in torch.split(flows, self._together, dim=1):
            orders = self.flows.orders(group)
            candidates.append(self._least(self.blocks[:, None].expand(orders.shape).gather(2, orders), group))
        return functools.reduce(_Found.or_better, candidates)

    def _least(self, visited: Tensor, flows: Tensor) -> _Found:
        """Return the best of flows (R, F, 3), given the samples in the order of each, shape (R, F, side^2)."""
        capped = alpert(visited, self.moments).square_().clamp_(max=1)
        costs = capped.sum(dim=2).mul_(STEPS).round_() + STEPS * self.price.of_leaf(flows, len(self.flows.angles))
        least, chosen = costs.min(dim=1)
        return _Found(least, flows[torch.arange(len(flows), device=flows.device), chosen])

    @property
    def _together(self) -> int:
        """How many flows are tried at once."""
        return max(1, TOGETHER // self.blocks.numel())


def _partition(squares: Sequence[Squares], levels: Sequence[_Level]) -> list[Choice]:
    """Follow the cuts from the largest squares down."""
    choices: list[Choice] = []
    reached = torch.ones_like(levels[-1].cut)
    for number in reversed(range(len(squares))):
        level = levels[number]
        choices.append(Choice(reached & ~level.cut, level.flowing, level.flows))
        if number == 0:
            break
        # A quarter is reached if the square that it is part of is cut, or if it is part of none.
        quarters = squares[number].quarters.flatten().to(reached.device)
        below = torch.ones_like(levels[number - 1].cut)
        below[:, quarters] = (reached & level.cut).repeat_interleave(4, dim=1)
        reached = below
    return choices[::-1]
