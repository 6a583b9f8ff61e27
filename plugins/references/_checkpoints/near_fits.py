"""The parameters of an architecture with which weights fit it, found from their shapes."""

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

#: Networks that are built, at most; each takes milliseconds on the meta device.
MAX_BUILDS = 120
#: Cases that are followed at a time: two parameters may have to change before the shapes come nearer.
FOLLOWED = 3
#: Sizes in the file that a width is compared with, and the largest small number that a depth is.
MAX_SIZES, SMALL = 12, 8


@dataclass(frozen=True)
class _Case:
    """Parameters that differ from those given, and the channels of the images."""

    changes: tuple[tuple[str, Any], ...]
    channels: int

    def but(self, name: str, value: Any) -> _Case:
        if name == "channels":
            return _Case(self.changes, value)
        return _Case(tuple(sorted({**dict(self.changes), name: value}.items())), self.channels)


def near_fit(
    state: State, architecture: ArchitectureFactory, shape: Shape, check: Callable[[nn.Module], object]
) -> str | None:
    """Return the architecture with other parameters that takes the weights, in words, or ``None`` if none is found."""
    search = _Search(state, architecture, shape)
    given = _Case((), shape[0])
    if search.distance(given) == 0:
        return None
    nearest = search.nearest(given)
    switches = [name for name, value in architecture.parameters.items() if isinstance(value, bool)]
    for values in itertools.product((None, True, False), repeat=len(switches)):
        case = nearest
        for name, value in zip(switches, values, strict=True):
            case = case if value is None else case.but(name, value)
        network = search.built(case)
        if network is None:
            continue
        with contextlib.suppress(ParameterError):
            check(network)
            images = "one channel" if case.channels == 1 else f"{case.channels} channels"
            label = architecture.with_parameters(**dict(case.changes)).label
            return label if case.channels == shape[0] else f"{label}, for images of {images}"
    return None


class _Search:
    """Networks with other parameters, compared with the shapes in a file."""

    def __init__(self, state: State, architecture: ArchitectureFactory, shape: Shape) -> None:
        self.architecture, self.shape = architecture, shape
        self.wanted = _shapes(state.values())
        self.sizes = sorted({size for kind in self.wanted for size in kind})[:MAX_SIZES]
        self.counts = sorted({*range(1, SMALL + 1), *_counts(state)})
        self.builds = 0
        self._built: dict[_Case, nn.Module | None] = {}

    def nearest(self, case: _Case) -> _Case:
        """Return where no single change brings the shapes nearer, from the few nearest of each round."""
        best, ahead = case, [case]
        while self.distance(best) and self.builds < MAX_BUILDS:
            found = {other for one in ahead for other in self._neighbours(one)} - {best, *ahead}
            ahead = sorted(found, key=lambda other: (self.distance(other), str(other)))[:FOLLOWED]
            if not ahead or self.distance(ahead[0]) >= self.distance(best):
                break
            best = ahead[0]
        return best

    def distance(self, case: _Case) -> float:
        """Return how many numbers are in tensors whose shapes the file has not, or the network has not."""
        network = self.built(case)
        if network is None:
            return math.inf
        found = _shapes(network.state_dict().values())
        differing = (found - self.wanted) + (self.wanted - found)
        return float(sum(count * math.prod(kind) for kind, count in differing.items()))

    def built(self, case: _Case) -> nn.Module | None:
        """Return a network on the meta device; ``None`` if it cannot be built, or too many have been."""
        if case not in self._built and self.builds < MAX_BUILDS:
            self.builds += 1
            self._built[case] = self._build(case)
        return self._built.get(case)

    def _build(self, case: _Case) -> nn.Module | None:
        try:
            with torch.device("meta"):
                return self.architecture.with_parameters(**dict(case.changes)).build((case.channels, *self.shape[1:]))
        except Exception:
            # Values that the constructor refuses are not the ones that are looked for.
            return None

    def _neighbours(self, case: _Case) -> Iterator[_Case]:
        for channels in (1, 3):
            yield case.but("channels", channels)
        values = {**self.architecture.parameters, **dict(case.changes)}
        for name, value in values.items():
            if isinstance(value, bool):
                yield case.but(name, not value)
            elif isinstance(value, int):
                candidates = self.counts if self._is_depth(case, name, value) else self.sizes
                yield from (case.but(name, other) for other in candidates if other != value)

    def _is_depth(self, case: _Case, name: str, value: int) -> bool:
        """Whether a parameter changes how many tensors there are, not how large they are."""
        here, more = self.built(case), self.built(case.but(name, value + 1))
        return here is not None and more is not None and len(here.state_dict()) != len(more.state_dict())


def _shapes(tensors: Iterable[Tensor]) -> Counter[tuple[int, ...]]:
    """Count tensors by their shape, without sides of 1, which published code has elsewhere, and single numbers."""
    shapes = (tuple(size for size in tensor.shape if size > 1) for tensor in tensors if tensor.ndim)
    return Counter(shapes)


def _counts(state: State) -> set[int]:
    """Return numbers of layers: of the tensors with so many sides, and how far the numbers in names count."""
    found = set(Counter(tensor.ndim for tensor in state.values()).values())
    places: dict[int, set[int]] = {}
    for name in state:
        for place, number in enumerate(re.findall(r"(?<!\w)\d+(?!\w)", name)):
            places.setdefault(place, set()).add(int(number))
    # What is numbered has as many members as different numbers.
    return {count for count in found | {len(numbers) for numbers in places.values()} if count <= len(state)}
