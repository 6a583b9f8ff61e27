"""Dyadic squares of wavelet subbands, the flows along which bandlets visit their samples, and the best geometry."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gahbench_plugins.bases.alpert import alpert
from gahbench_plugins.bases.extended import Size
from gahbench_plugins.bases.wavelet import Wavelet, packet_rows

#: Accepted sides of squares, in samples, and maximum side of squares with a given number of directions.
SIDES = tuple(1 << power for power in range(1, 13))
LARGEST_LISTED = 32
#: Maximum side of squares in which each of the fine directions is tried. In larger squares, the search starts from the
#: directions of the quarters and from ``SPREAD`` equally spaced directions.
ALL_DIRECTIONS = 16
SPREAD = 8
#: Maximum number of values that are transformed at a time, so that they fit into memory and the processor's cache, and
#: maximum number of samples of cached orders.
BATCH_VALUES = 1 << 20
MAX_CACHED = 1 << 22
#: Costs are rounded to multiples of threshold^2 / STEPS, so that ties are broken by the order of the choices, and not
#: by rounding errors.
STEPS = 1024

Directions = int | Literal["fine"]


class Subband(NamedTuple):
    """Pixels per sample, orientation of structures, and position and size in the array of all coefficients."""

    scale: int
    orientation: str | None
    top: int
    left: int
    height: int
    width: int


def subbands_of(wavelet: Wavelet, size: Size) -> dict[int, Subband]:
    """Return the subbands of details by label, from coarse to fine; with 0 levels, all pixels."""
    result: dict[int, Subband] = {}
    for depth in reversed(range(1, wavelet.depth(*size) + 1)):
        height, width = size[0] >> depth, size[1] >> depth
        corners = {"horizontal": (height, 0), "vertical": (0, width), "diagonal": (height, width)}
        for orientation, corner in corners.items():
            result[len(result) + 1] = Subband(1 << depth, orientation, *corner, height, width)
    return result or {1: Subband(1, None, 0, 0, *size)}


@dataclass(frozen=True, eq=False)
class Squares:
    """All S squares of one size in all subbands, and the directions of their flows.

    Parameters
    ----------
    side
        Side of the squares, in samples.
    bands, corners
        Label of the subband, shape (S,), and first row and column in the array of all coefficients, shape (S, 2).
    samples
        Flat indices of the samples, row by row, shape (S, side^2).
    quarters
        Indices of the four quarters among the squares of half the side, shape (S, 4), or (S, 0) for the smallest.
    tries_all
        Whether the search tries every direction.
    angles
        Angles of the directions in degrees, from 0 to 180, counter-clockwise from the rows of the grid.
    table
        Orders of all directions, shape (D, side^2); ``None`` if they would be too large.
    fixed
        Orders along given lines instead of directions, for each square of each of B planes, shape (B S, side^2).
    """

    side: int
    bands: Tensor
    corners: Tensor
    samples: Tensor
    quarters: Tensor
    tries_all: bool
    angles: tuple[float, ...]
    table: Tensor | None
    fixed: Tensor | None = None

    def __len__(self) -> int:
        return len(self.corners)

    def orders(self, directions: Tensor, rows: Tensor) -> Tensor:
        """Return the orders of directions (...), shape (..., side^2), or along given lines the rows of ``fixed``."""
        if self.fixed is not None:
            return self.fixed[rows]
        if self.table is not None:
            return self.table.to(directions.device)[directions]
        distinct, indices = torch.unique(directions, return_inverse=True)
        return _orders(self.side, len(self.angles), distinct)[indices]


# Tensors that were created for inference have no derivatives, so that they must not be cached.
@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def dyadic_squares(
    name: str, levels: int | None, smallest: int, largest: int | None, directions: Directions, size: Size
) -> tuple[Squares, ...]:
    """Return the squares of all sizes that are within a subband and not influenced by the extension of the image."""
    wavelet = Wavelet(name, levels)
    extended = wavelet.valid_size(*size)
    usable = torch.ones(extended, dtype=torch.bool)
    if extended != size:
        axes = [packet_rows(wavelet.name, side, wavelet.depth(*extended)) for side in extended]
        for level, axis_rows in enumerate(zip(*axes, strict=True)):
            down, across = (
                (rows[: len(rows) >> level, side:].abs() < 1e-12).all(1)
                for rows, side in zip(axis_rows, size, strict=True)
            )
            usable[: len(down), : len(across)] = down[:, None] & across
    result: list[Squares] = []
    for side in SIDES:
        if smallest <= side <= (max(extended) if largest is None else largest):
            result.append(_squares_of(side, subbands_of(wavelet, extended), usable, result[-1:], directions))
    return tuple(squares for squares in result if len(squares))


def _squares_of(
    side: int, subbands: dict[int, Subband], usable: Tensor, smaller: list[Squares], directions: Directions
) -> Squares:
    """Return the squares of a size, and their quarters among the smaller squares."""
    corners, labels = [], []
    for label, band in subbands.items():
        down, across = band.height // side, band.width // side
        within = usable[band.top :, band.left :][: down * side, : across * side]
        is_usable = within.reshape(down, side, across, side).all(dim=3).all(dim=1)
        corners.append(is_usable.nonzero() * side + torch.tensor([band.top, band.left]))
        labels.append(torch.full((len(corners[-1]),), label))
    positions = torch.cat(corners)
    quarters = torch.empty(len(positions), 0, dtype=torch.long)
    if smaller:
        numbers = torch.empty(usable.shape, dtype=torch.long)
        numbers[tuple(smaller[0].corners.T)] = torch.arange(len(smaller[0]))
        offsets = side // 2 * torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
        quarters = numbers[tuple((positions[:, None] + offsets).unbind(-1))]
    offsets = torch.arange(side)[:, None] * usable.shape[1] + torch.arange(side)
    samples = (positions[:, :1] * usable.shape[1] + positions[:, 1:]) + offsets.flatten()
    tries_all = directions != "fine" or side <= ALL_DIRECTIONS
    return Squares(side, torch.cat(labels), positions, samples, quarters, tries_all, *_directions(side, directions))


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def _directions(side: int, directions: Directions) -> tuple[tuple[float, ...], Tensor | None]:
    """Return the angles of equally spaced directions in degrees, and their orders unless they would be too large."""
    count = max(16, math.ceil(math.pi / 2 * side)) if directions == "fine" else directions
    angles = tuple(180 * (number + 0.5) / count for number in range(count))
    if count * side**2 > MAX_CACHED:
        return angles, None
    orders = _orders(side, count, torch.arange(count))
    if directions != "fine":
        # Directions of equal order are adjacent.
        is_new = torch.cat([torch.tensor([True]), (orders.diff(dim=0) != 0).any(1)])
        angles, orders = tuple(angles[number] for number in is_new.nonzero()[:, 0].tolist()), orders[is_new]
    return angles, orders


def _orders(side: int, count: int, directions: Tensor) -> Tensor:
    """Return the orders of the samples of a square by their coordinate across each of D directions, (D, side^2)."""
    positions = torch.arange(side, dtype=torch.float64, device=directions.device) - (side - 1) / 2
    angles = (directions + 0.5) * (math.pi / count)
    cos, sin = angles.double().cos()[:, None, None], angles.double().sin()[:, None, None]
    along = (cos * positions - sin * positions[:, None]) / (side / 2)
    # The last term orders samples on the same line along the line rather than by rounding errors.
    across = sin * positions + cos * positions[:, None] + 1e-6 * along
    return across.flatten(1).argsort(dim=1, stable=True)


def along_lines(squares: Sequence[Squares], lines: Tensor, wavelet: Wavelet) -> list[Squares]:
    """Return squares with the orders along the level lines of a function of the pixels of each plane, (B, H, W)."""
    values = lines.clone()
    for band in subbands_of(wavelet, (lines.shape[1], lines.shape[2])).values():
        # A coefficient is located at the centre of its pixels.
        pooled = torch.nn.functional.avg_pool2d(lines, band.scale)
        values[:, band.top : band.top + band.height, band.left : band.left + band.width] = pooled
    planes = values.flatten(1)
    return [
        dataclasses.replace(level, fixed=planes[:, level.samples].flatten(0, 1).argsort(dim=1, stable=True))
        for level in squares
    ]


class Choice(NamedTuple):
    """Minimum costs in steps for squares of one size in B planes, shape (B, S), whether they are leaves, and flows."""

    costs: Tensor
    is_leaf: Tensor
    has_flow: Tensor
    directions: Tensor


def best_choices(
    planes: Tensor, squares: Sequence[Squares], moments: int, threshold: float, bit: float, parameter: float
) -> list[Choice]:
    """Return the partition and the flows of minimum cost for planes of coefficients, shape (B, H * W).

    The cost is the sum of min(c^2, threshold^2) over all coefficients, plus threshold^2 times the price of the
    geometry. All directions are tried in squares with sides up to :data:`ALL_DIRECTIONS` samples, and in all squares of
    a given number of directions. In larger squares with fine directions, a local search from the best flows of the
    quarters may miss the minimum.
    """
    levels: list[Choice] = []
    for number, level in enumerate(squares):
        blocks = planes[:, level.samples.to(planes.device)] / threshold
        price = bit * (1 + math.log2(len(level.angles))) + parameter
        quarters = None
        if number:
            # The directions that are nearest to the directions of the quarters.
            nearest = (2 * levels[-1].directions[:, level.quarters] + 1) * len(level.angles)
            nearest = nearest.div(2 * len(squares[number - 1].angles), rounding_mode="floor")
            quarters = levels[-1].costs[:, level.quarters].sum(2), nearest
        levels.append(_best_of_level(level, blocks, moments, bit, price, quarters))
    is_split = torch.empty(0)
    for number in reversed(range(len(squares))):
        # A square is reached if the square of which it is a quarter is split, or does not exist.
        is_reached = torch.ones_like(levels[number].is_leaf)
        if number + 1 < len(squares):
            is_reached[:, squares[number + 1].quarters.flatten().to(planes.device)] = is_split.repeat_interleave(4, 1)
        is_split = is_reached & ~levels[number].is_leaf
        levels[number] = levels[number]._replace(is_leaf=is_reached & levels[number].is_leaf)
    return levels


def _best_of_level(
    squares: Squares, blocks: Tensor, moments: int, bit: float, price: float, quarters: tuple[Tensor, Tensor] | None
) -> Choice:
    """Return the best choices for squares (B, S, side^2), given costs of their quarters and directions near theirs."""
    shape = blocks.shape[:2]
    blocks = blocks.flatten(0, 1)
    energy = blocks.square()
    costs = energy.clamp(max=1).sum(dim=1).mul_(STEPS).round_() + STEPS * bit
    # Transforms preserve energy, so coefficients cost at least min(energy, 1). Search only squares for which this
    # bound is below the current cost.
    bound = energy.sum(dim=1).clamp(max=1) * STEPS - 1 + STEPS * price
    is_candidate = bound < costs
    if quarters is not None:
        is_candidate &= bound <= quarters[0].flatten()
    directions = torch.zeros(len(blocks), dtype=torch.long, device=blocks.device)
    has_flow = torch.zeros_like(is_candidate)
    for rows in torch.split(candidates(is_candidate), max(1, BATCH_VALUES // blocks.shape[1])):
        if len(rows) == 0:
            break
        near = None if quarters is None else quarters[1].flatten(0, 1)[rows]
        flow_costs, best = _search(squares, blocks[rows], rows, moments, near)
        flow_costs += STEPS * price
        is_better = is_candidate[rows] & (flow_costs < costs[rows])
        directions[rows] = torch.where(is_candidate[rows], best, 0)
        has_flow[rows] = is_better
        costs[rows] = torch.where(is_better, flow_costs, costs[rows])
    is_leaf = torch.ones_like(is_candidate)
    if quarters is not None:
        quarter_costs = quarters[0].flatten()
        is_leaf = ~(quarter_costs < costs)
        costs = torch.minimum(quarter_costs, costs) + STEPS * bit
    return Choice(*(values.reshape(shape) for values in (costs, is_leaf, has_flow, directions)))


def _search(squares: Squares, blocks: Tensor, rows: Tensor, moments: int, near: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the cost and the direction of the best flow of R squares, (R, side^2), starting from directions (R, 4)."""
    numbers = torch.arange(len(squares.angles), device=blocks.device)
    if squares.fixed is not None:
        return _costs(blocks.gather(1, squares.orders(rows, rows)), moments), torch.zeros_like(rows)
    if near is None or squares.tries_all:
        return _best_of(squares, blocks, numbers, moments)
    spread = numbers[:: len(numbers) // SPREAD].expand(len(near), -1)
    costs, best = _best_of(squares, blocks, torch.cat([near, spread], dim=1), moments)
    step = len(numbers) // (2 * SPREAD)
    while step:
        turned = torch.stack([best + step, best - step], dim=1) % len(numbers)
        turned_costs, turned = _best_of(squares, blocks, turned, moments)
        best = torch.where(turned_costs < costs, turned, best)
        costs = torch.minimum(turned_costs, costs)
        step //= 2
    return costs, best


def _best_of(squares: Squares, blocks: Tensor, directions: Tensor, moments: int) -> tuple[Tensor, Tensor]:
    """Return the cost and the direction of the best of directions, (R, F), or (F,) for all of the R squares."""
    costs = []
    for group in torch.split(directions, max(1, BATCH_VALUES // blocks.numel()), dim=-1):
        orders = squares.orders(group, group)
        # Indexing is faster than gathering, if the orders are the same for all squares.
        samples = blocks[:, orders] if group.ndim == 1 else blocks[:, None].expand(orders.shape).gather(2, orders)
        costs.append(_costs(samples, moments))
    minimum, index = torch.cat(costs, dim=1).min(dim=1)
    return minimum, directions.expand(len(blocks), -1).gather(1, index[:, None])[:, 0]


def _costs(samples: Tensor, moments: int) -> Tensor:
    """Return the costs in steps of samples in the order of a flow, shape (..., side^2)."""
    return alpert(samples, moments).square_().clamp_(max=1).sum(dim=-1).mul_(STEPS).round_()


def candidates(mask: Tensor) -> Tensor:
    """Return the flat indices where a mask is true, and on a GPU, which would wait for them, all flat indices."""
    if mask.device.type == "cpu":
        return mask.flatten().nonzero()[:, 0]
    return torch.arange(mask.numel(), device=mask.device)
