"""A small LRU cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class LRUCache(Generic[T]):
    """An LRU cache with a limit in bytes. The most recent result is kept even if it alone exceeds the limit."""

    def __init__(self, limit: int, bytes_of: Callable[[T], int]) -> None:
        self._limit = limit
        self._bytes_of = bytes_of
        self._results: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the cached result of a key, or compute it with ``compute``."""
        if key not in self._results:
            self._results[key] = compute()
            while len(self._results) > 1 and sum(map(self._bytes_of, self._results.values())) > self._limit:
                self._results.popitem(last=False)
        self._results.move_to_end(key)
        return self._results[key]
