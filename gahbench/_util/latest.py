"""A small LRU cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """An LRU cache with a limit in bytes. The most recent result is kept even if it alone exceeds the limit."""

    def __init__(self, limit: int, bytes_of: Callable[[T], int]) -> None:
        self._limit = limit
        self._bytes_of = bytes_of
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, find: Callable[[], T]) -> T:
        """Return the cached result of a key, or compute it with ``find``."""
        if key not in self._kept:
            self._kept[key] = find()
            while len(self._kept) > 1 and sum(map(self._bytes_of, self._kept.values())) > self._limit:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
