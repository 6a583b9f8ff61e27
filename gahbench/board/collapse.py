"""Collapse: noise levels at which the number of pixels does not matter.

White noise of standard deviation sigma in images of side N is, in the continuous image, noise of strength
epsilon = sigma / N. Where images of side N and 2N are averages of the same masters, so that they are the same images,
and their errors at the same epsilon differ by less than :data:`MAX_DIFFERENCE`, the error at that level is that of the
continuous image; at weaker noise it is that of the pixels. Images that are drawn anew for each size are never compared:
how much they differ is not what the number of pixels does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench._util.errors import ParameterError
from gahbench.registry.spec import format_value, parse_spec

if TYPE_CHECKING:
    from gahbench.board.results import Results

Array = NDArray[np.float64]
#: Noise levels, ascending, and mean squared errors at them, NaN where one is not known, both of shape (S,).
Curve = tuple[Array, Array]

#: Errors at N and 2N that differ by less, in dB, have collapsed.
MAX_DIFFERENCE = 0.1
#: Levels are the same if epsilon differs by no more than this share, which moves an error by .01 dB or so.
_SAME = 1e-3


def families(results: Results) -> dict[str, dict[int, str]]:
    """Return the datasets that differ by their parameter ``size`` alone, by their side in pixels."""
    found: dict[str, dict[int, str]] = {}
    facts = results.datasets
    for dataset, size in zip(map(str, facts["dataset"]), facts["height"], strict=True):
        try:
            spec = parse_spec(dataset)
        except ParameterError:
            continue
        # Where the size is the default, the label does not say it.
        others = [f"{name}={format_value(value)}" for name, value in spec.keywords.items() if name != "size"]
        written = ",".join([*map(format_value, spec.positional), *others])
        found.setdefault(f"{spec.name}[{written}]" if written else spec.name, {})[int(size)] = dataset
    return {name: dict(sorted(members.items())) for name, members in found.items()}


def of_one_master(results: Results) -> dict[str, dict[int, str]]:
    """Return those of :func:`families` whose images are averages of the same masters, by the parameter ``master``."""
    return {
        name: members
        for name, members in families(results).items()
        if parse_spec(name).keywords.get("master") is not None
    }


def value_at(curve: Curve, sigma: float) -> float:
    """Return the error of a curve at a noise level; NaN where it is not known."""
    place = place_of(curve[0], sigma)
    return math.nan if place is None else float(curve[1][place])


def place_of(sigmas: ArrayLike, sigma: float) -> int | None:
    """Return which of some noise levels is the one given, up to rounding; ``None`` if none is."""
    near = np.flatnonzero(np.abs(np.asarray(sigmas, dtype=np.float64) / sigma - 1) <= _SAME)
    return int(near[0]) if len(near) else None


def collapsed_levels(size: int, curves: Mapping[int, Curve]) -> NDArray[np.bool_]:
    """Return at which noise levels of one size the error has collapsed."""
    pairs = [(side, 2 * side) for side in sorted(curves, reverse=True) if side <= size and 2 * side in curves]
    found = np.zeros(len(curves[size][0]), dtype=np.bool_)
    for place, sigma in enumerate(curves[size][0]):
        for sides in pairs:
            first, second = (value_at(curves[side], float(sigma) * side / size) for side in sides)
            if first > 0 and second > 0:
                found[place] = abs(10 * math.log10(first / second)) < MAX_DIFFERENCE
                break
    return found


def is_paired(size: int, sides: Iterable[int]) -> bool:
    """Return whether images of two sides show which levels of a size have collapsed (:func:`collapsed_levels`)."""
    there = set(sides)
    return any(side <= size and 2 * side in there for side in there)


def longest_run(chosen: ArrayLike, epsilons: ArrayLike) -> slice:
    """Return the neighbouring levels that are all chosen and span the most decibels, of several the lowest."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(chosen, dtype=np.int8), [0]])))
    runs = [slice(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]
    logs = np.log(np.asarray(epsilons, dtype=np.float64))
    return max(runs, key=lambda run: logs[run.stop - 1] - logs[run.start], default=slice(0, 0))
