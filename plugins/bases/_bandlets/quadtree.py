"""Search for the best quadtree and the best flows of its squares, by dynamic programming from the smallest squares."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._tensors import candidate_indices
from .alpert import alpert
from .flows import FLOW_SIZE, Flows, parameters
from .frame import Squares

#: Maximum number of values that are transformed at a time, so that they fit into memory and the processor's cache.
BATCH_VALUES = 1 << 20
#: Costs are rounded to multiples of threshold^2 / STEPS, so that ties are broken by the order of the choices, and not
#: by rounding errors.
STEPS = 1024
#: Maximum side of squares in which every direction is tried. In larger squares, the search starts from the directions
#: of the quarters and from ``SPREAD`` equally spaced directions.
ALL_DIRECTIONS = 16
SPREAD = 8


@dataclass(frozen=True)
class Price:
    """Price of the geometry, in units of a kept coefficient."""

    bit: float = 0.0
    parameter: float = 0.0

    def leaf(self, flows: Tensor, directions: int) -> Tensor:
        """Return the price, shape (...), of a leaf with each of the flows, shape (..., 3)."""
        return self.bit * (1 + math.log2(directions)) + self.parameter * parameters(flows)


@dataclass(frozen=True, eq=False)
class Choice:
    """Choices for all squares of one size: whether a square is a leaf, whether it has a flow, and the flow."""

    is_leaf: Tensor
    has_flow: Tensor
    flows: Tensor


def best_choices(
    coefficients: Tensor,
    squares: Sequence[Squares],
    flows: Sequence[Flows],
    moments: int,
    threshold: float,
    price: Price,
) -> list[Choice]:
    """Return the partition and the flows of minimum cost.

    The cost is the sum of min(c^2, threshold^2) over all coefficients, plus threshold^2 times the price of the
    geometry. All directions are tried in squares with sides up to :data:`ALL_DIRECTIONS` samples, and in all squares if
    there is a table of directions. In larger squares without a table, a local search from the best flows of the
    quarters may miss the minimum.
    """
    levels: list[_Level] = []
    for level, flow in zip(squares, flows, strict=True):
        blocks = coefficients[:, level.samples.to(coefficients.device)] / threshold
        quarters = levels[-1].quarters(level, flow) if levels else None
        levels.append(_best_of_level(blocks, flow, moments, price, quarters))
    return _partition(squares, levels) if squares else []


@dataclass(frozen=True, eq=False)
class _Level:
    """Squares of one size: minimum costs in steps, whether squares are split, whether they have flows, and flows."""

    side_flows: Flows
    costs: Tensor
    is_split: Tensor
    has_flow: Tensor
    flows: Tensor

    def quarters(self, squares: Squares, flows: Flows) -> tuple[Tensor, Tensor]:
        """Return the cost of the quarters of larger squares, (B, S), and flows near theirs, (B, S, 4, 3)."""
        nearest = flows.nearest_straight(self.side_flows, self.flows[:, squares.quarters])
        return self.costs[:, squares.quarters].sum(dim=2), nearest


def _best_of_level(
    blocks: Tensor, flows: Flows, moments: int, price: Price, quarters: tuple[Tensor, Tensor] | None
) -> _Level:
    """Return the best choices for squares (B, S, side^2), given costs and flows of their quarters."""
    shape = blocks.shape[:2]
    blocks = blocks.flatten(0, 1)
    energy = blocks.square()
    costs = energy.clamp(max=1).sum(dim=1).mul_(STEPS).round_() + STEPS * price.bit
    # Transforms preserve energy, so coefficients cost at least min(energy, 1). Search only squares for which this
    # bound is below the current cost.
    bound = energy.sum(dim=1).clamp(max=1) * STEPS - 1
    bound += STEPS * float(price.leaf(flows.directions()[0], len(flows.angles)))
    is_candidate = bound < costs
    if quarters is not None:
        is_candidate &= bound <= quarters[0].flatten()
    best = torch.zeros(len(blocks), FLOW_SIZE, dtype=torch.long, device=blocks.device)
    has_flow = torch.zeros_like(is_candidate)
    for rows in torch.split(candidate_indices(is_candidate), max(1, BATCH_VALUES // blocks.shape[1])):
        if len(rows) == 0:
            break
        search = _Search(blocks[rows], flows, moments, price)
        if flows.fixed_orders is not None:
            choice = search.fixed_flows(rows % shape[1])
        elif quarters is None or flows.table is not None or flows.side <= ALL_DIRECTIONS:
            choice = search.all_directions()
        else:
            choice = search.refine(quarters[1].flatten(0, 1)[rows])
        is_better = is_candidate[rows] & (choice.costs < costs[rows])
        best[rows] = torch.where(is_candidate[rows, None], choice.flows, 0)
        has_flow[rows] = is_better
        costs[rows] = torch.where(is_better, choice.costs, costs[rows])
    is_split = torch.zeros_like(is_candidate)
    if quarters is not None:
        quarter_costs = quarters[0].flatten()
        is_split = quarter_costs < costs
        costs = torch.minimum(quarter_costs, costs) + STEPS * price.bit
    return _Level(
        flows, costs.reshape(shape), is_split.reshape(shape), has_flow.reshape(shape), best.reshape(*shape, FLOW_SIZE)
    )


@dataclass(frozen=True, eq=False)
class _Best:
    """The best flow of each square so far: costs in steps, shape (R,), and flows, shape (R, 3)."""

    costs: Tensor
    flows: Tensor

    def minimum(self, other: _Best) -> _Best:
        is_better = other.costs < self.costs
        return _Best(
            torch.where(is_better, other.costs, self.costs), torch.where(is_better[:, None], other.flows, self.flows)
        )


@dataclass(frozen=True, eq=False)
class _Search:
    """Search for the best flows of R squares, whose samples divided by the threshold have shape (R, side^2)."""

    blocks: Tensor
    flows: Flows
    moments: int
    price: Price

    def fixed_flows(self, squares: Tensor) -> _Best:
        """Return the fixed flow of each square, by the indices of the squares, shape (R,)."""
        flows = torch.zeros(len(squares), 1, FLOW_SIZE, dtype=torch.long, device=squares.device)
        flows[..., 0] = squares[:, None]
        return self._best_of(flows)

    def all_directions(self) -> _Best:
        """Try every direction, and then bend the best flow."""
        directions = self.flows.directions().to(self.blocks.device)
        candidates = [
            # The orders are the same for all squares.
            self._minimize(self.blocks[:, self.flows.orders(group)], group.expand(len(self.blocks), -1, -1))
            for group in torch.split(directions, self._batch)
        ]
        return self._bend(functools.reduce(_Best.minimum, candidates))

    def refine(self, near: Tensor) -> _Best:
        """Start from flows (R, F, 3) and equally spaced directions, rotate the best flow, and then bend it."""
        count = len(self.flows.angles)
        spread = self.flows.directions()[:: count // SPREAD].to(near.device).expand(len(near), -1, -1)
        best = self._best_of(torch.cat([near, spread], dim=1))
        step = count // (2 * SPREAD)
        while step:
            best = self._best_move(best, [(step, 0, 0), (-step, 0, 0)])
            step //= 2
        return self._bend(best)

    def _bend(self, best: _Best) -> _Best:
        """Bend and rotate jointly, since the best straight line along an arc is often a tangent of a part of it."""
        if self.flows.degree == 1:
            return best
        step = self.flows.largest_bend // 2
        # A bend of 1 rotates the contour at the end of the square by about the angle between two directions.
        turns = (-step, -(step // 2), 0, step // 2, step)
        best = self._best_move(best, [(turn, bend * step, 0) for bend in (-2, -1, 1, 2) for turn in turns])
        while step:
            moves = [(turn, bend, 0) for turn in (-step, 0, step) for bend in (-step, 0, step) if turn or bend]
            if self.flows.degree == 3:
                moves += [(0, 0, step), (0, 0, -step)]
            best = self._best_move(best, moves)
            step = (step + 1) // 2 if step > 1 else 0
        return best

    def _best_move(self, best: _Best, moves: list[tuple[int, int, int]]) -> _Best:
        return best.minimum(self._best_of(torch.stack([self.flows.move(best.flows, move) for move in moves], dim=1)))

    def _best_of(self, flows: Tensor) -> _Best:
        """Return the best of flows (R, F, 3)."""
        candidates = []
        for group in torch.split(flows, self._batch, dim=1):
            orders = self.flows.orders(group)
            candidates.append(self._minimize(self.blocks[:, None].expand(orders.shape).gather(2, orders), group))
        return functools.reduce(_Best.minimum, candidates)

    def _minimize(self, samples: Tensor, flows: Tensor) -> _Best:
        """Return the best of flows (R, F, 3), given the samples in the order of each flow, shape (R, F, side^2)."""
        capped = alpert(samples, self.moments).square_().clamp_(max=1)
        costs = capped.sum(dim=2).mul_(STEPS).round_() + STEPS * self.price.leaf(flows, len(self.flows.angles))
        minimum, index = costs.min(dim=1)
        return _Best(minimum, flows[torch.arange(len(flows), device=flows.device), index])

    @property
    def _batch(self) -> int:
        """Number of flows that are tried at a time."""
        return max(1, BATCH_VALUES // self.blocks.numel())


def _partition(squares: Sequence[Squares], levels: Sequence[_Level]) -> list[Choice]:
    """Follow the splits from the largest squares to the smallest."""
    choices: list[Choice] = []
    is_reached = torch.ones_like(levels[-1].is_split)
    for index in reversed(range(len(squares))):
        level = levels[index]
        choices.append(Choice(is_reached & ~level.is_split, level.has_flow, level.flows))
        if index == 0:
            break
        # A quarter is reached if its larger square is split, or does not exist.
        quarters = squares[index].quarters.flatten().to(is_reached.device)
        is_smaller_reached = torch.ones_like(levels[index - 1].is_split)
        is_smaller_reached[:, quarters] = (is_reached & level.is_split).repeat_interleave(4, dim=1)
        is_reached = is_smaller_reached
    return choices[::-1]
