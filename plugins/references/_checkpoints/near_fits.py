"""Search for parameters with which an architecture fits given weights."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gahbench import ArchitectureFactory, ParameterError, Shape

from .reading import State

#: Largest number of networks that are built on the meta device, each in milliseconds.
MAX_BUILDS = 120
#: Beam width of the search, since two parameters may have to change before the shapes become more similar.
BEAM_WIDTH = 3
#: Largest number of sizes in the file that are tried as widths, and largest depth that is always tried.
MAX_SIZES, MAX_DEPTH = 12, 8


@dataclass(frozen=True)
class _Candidate:
    """Changed parameters of an architecture, and the number of image channels."""

    changes: tuple[tuple[str, Any], ...]
    channels: int

    def replace(self, name: str, value: Any) -> _Candidate:
        if name == "channels":
            return _Candidate(self.changes, value)
        return _Candidate(tuple(sorted({**dict(self.changes), name: value}.items())), self.channels)


def near_fit(
    state: State, architecture: ArchitectureFactory, shape: Shape, check: Callable[[nn.Module], object]
) -> str | None:
    """Describe a change of parameters with which the architecture fits the weights, or return ``None``."""
    search = _Search(state, architecture, shape)
    initial = _Candidate((), shape[0])
    if search.distance(initial) == 0:
        return None
    nearest = search.nearest(initial)
    switches = [name for name, value in architecture.parameters.items() if isinstance(value, bool)]
    for values in itertools.product((None, True, False), repeat=len(switches)):
        candidate = nearest
        for name, value in zip(switches, values, strict=True):
            candidate = candidate if value is None else candidate.replace(name, value)
        network = search.network(candidate)
        if network is None:
            continue
        with contextlib.suppress(ParameterError):
            check(network)
            images = "one channel" if candidate.channels == 1 else f"{candidate.channels} channels"
            label = architecture.with_parameters(**dict(candidate.changes)).label
            return label if candidate.channels == shape[0] else f"{label}, for images of {images}"
    return None


class _Search:
    """A beam search over parameters for the network whose tensor shapes are most similar to the shapes in a file."""

    def __init__(self, state: State, architecture: ArchitectureFactory, shape: Shape) -> None:
        self.architecture, self.shape = architecture, shape
        self.file_shapes = _shapes(state.values())
        self.sizes = sorted({size for shape in self.file_shapes for size in shape})[:MAX_SIZES]
        self.counts = sorted({*range(1, MAX_DEPTH + 1), *_counts(state)})
        self.builds = 0
        self._networks: dict[_Candidate, nn.Module | None] = {}

    def nearest(self, candidate: _Candidate) -> _Candidate:
        """Return the candidate at which the beam search ends."""
        best, beam = candidate, [candidate]
        while self.distance(best) and self.builds < MAX_BUILDS:
            neighbours = {neighbour for member in beam for neighbour in self._neighbours(member)} - {best, *beam}
            beam = sorted(neighbours, key=lambda other: (self.distance(other), str(other)))[:BEAM_WIDTH]
            if not beam or self.distance(beam[0]) >= self.distance(best):
                break
            best = beam[0]
        return best

    def distance(self, candidate: _Candidate) -> float:
        """Return the number of values in tensors whose shapes are only in the file, or only in the network."""
        network = self.network(candidate)
        if network is None:
            return math.inf
        shapes = _shapes(network.state_dict().values())
        differing = (shapes - self.file_shapes) + (self.file_shapes - shapes)
        return float(sum(count * math.prod(shape) for shape, count in differing.items()))

    def network(self, candidate: _Candidate) -> nn.Module | None:
        """Return a network on the meta device, or ``None`` if it cannot be built or ``MAX_BUILDS`` is reached."""
        if candidate not in self._networks and self.builds < MAX_BUILDS:
            self.builds += 1
            self._networks[candidate] = self._build(candidate)
        return self._networks.get(candidate)

    def _build(self, candidate: _Candidate) -> nn.Module | None:
        try:
            with torch.device("meta"):
                return self.architecture.with_parameters(**dict(candidate.changes)).build(
                    (candidate.channels, *self.shape[1:])
                )
        except Exception:
            # Values that the constructor refuses are not valid candidates.
            return None

    def _neighbours(self, candidate: _Candidate) -> Iterator[_Candidate]:
        for channels in (1, 3):
            yield candidate.replace("channels", channels)
        values = {**self.architecture.parameters, **dict(candidate.changes)}
        for name, value in values.items():
            if isinstance(value, bool):
                yield candidate.replace(name, not value)
            elif isinstance(value, int):
                candidates = self.counts if self._is_depth(candidate, name, value) else self.sizes
                yield from (candidate.replace(name, other) for other in candidates if other != value)

    def _is_depth(self, candidate: _Candidate, name: str, value: int) -> bool:
        """Return whether a parameter changes the number of tensors, not only their sizes."""
        current, deeper = self.network(candidate), self.network(candidate.replace(name, value + 1))
        return current is not None and deeper is not None and len(current.state_dict()) != len(deeper.state_dict())


def _shapes(tensors: Iterable[Tensor]) -> Counter[tuple[int, ...]]:
    """Count tensors by shape, ignoring scalars and axes of length 1, whose positions vary between programs."""
    shapes = (tuple(size for size in tensor.shape if size > 1) for tensor in tensors if tensor.ndim)
    return Counter(shapes)


def _counts(state: State) -> set[int]:
    """Return candidate numbers of layers: tensor counts by dimension, and counts of numbered names."""
    counts = set(Counter(tensor.ndim for tensor in state.values()).values())
    numbers_by_position: dict[int, set[int]] = {}
    for name in state:
        for position, number in enumerate(re.findall(r"(?<!\w)\d+(?!\w)", name)):
            numbers_by_position.setdefault(position, set()).add(int(number))
    counts |= {len(numbers) for numbers in numbers_by_position.values()}
    return {count for count in counts if count <= len(state)}
