"""Work that is shared by processes which are forked, so that they share the memory of what is already computed."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from gahbench._util.resources import cpu_count

Item = TypeVar("Item")
Result = TypeVar("Result")

#: The largest number of processes, each of which may need some hundred megabytes.
MAX_PROCESSES = 4
#: Warnings of a call: messages and categories.
Caught = list[tuple[str, type[Warning]]]

#: The function that forked processes call; they inherit it, since it may not be picklable.
_functions: list[Callable[[Any], Any]] = []


def map_in_processes(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield the result for each item, in order, and repeat the warnings of each call.

    On Linux, several processes share the work if the machine has several processors. Items and results must be
    picklable.
    """
    count = min(cpu_count(), len(items), MAX_PROCESSES)
    if count < 2 or sys.platform != "linux":
        yield from map(function, items)
        return
    # Imported here once, and not in each process, which would take seconds and memory.
    import scipy.stats  # noqa: F401
    import torch  # noqa: F401

    _functions.append(function)
    try:
        # Python 3.12 warns of forks of processes with threads. Threads of this package hold no locks that forks need.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            executor = ProcessPoolExecutor(count, multiprocessing.get_context("fork"), _start)
            futures = [executor.submit(_call, item) for item in items]
        with executor:
            for future in futures:
                result, caught = future.result()
                for message, category in caught:
                    warnings.warn(message, category, stacklevel=2)
                yield result
    finally:
        _functions.pop()


def _start() -> None:
    """Let torch use one thread: threads of OpenMP do not survive a fork."""
    import torch

    torch.set_num_threads(1)


def _call(item: Any) -> tuple[Any, Caught]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # As by default: deprecations in libraries are for developers.
        warnings.simplefilter("ignore", DeprecationWarning)
        result = _functions[-1](item)
    return result, [(str(warning.message), warning.category) for warning in caught]
