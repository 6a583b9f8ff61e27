"""What is made of a network's weights once for all its Jacobians, until they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from torch import nn

T = TypeVar("T")


class Prepared(Generic[T]):
    """Something made of networks: one for each, the latest."""

    def __init__(self, make: Callable[..., T]) -> None:
        self._make = make
        self._kept: WeakKeyDictionary[nn.Module, tuple[object, T]] = WeakKeyDictionary()

    def of(self, network: nn.Module, *others: object) -> T:
        """Return what is made of a network as it is now."""
        tensors = (*network.parameters(), *network.buffers())
        state = (others, tuple((tensor.data_ptr(), tensor._version) for tensor in tensors))
        kept = self._kept.get(network)
        if kept is None or kept[0] != state:
            kept = self._kept[network] = (state, self._make(network, *others))
        return kept[1]
