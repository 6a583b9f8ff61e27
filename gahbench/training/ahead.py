"""Results of the next steps, made in a thread while a GPU computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

Result = TypeVar("Result")

#: Results that may wait to be taken.
DEPTH = 4


class Ahead(Generic[Result]):
    """The results of a function of the step, made in one thread for a few steps in advance."""

    def __init__(self, make: Callable[[int], Result], first: int, depth: int = DEPTH) -> None:
        self._made: queue.Queue[tuple[Result | None, BaseException | None]] = queue.Queue(depth)
        self._next = first
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(make, first), name="gahbench-ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        # The thread may be waiting for room. Once there is room it makes at most one more result.
        while not self._made.empty():
            self._made.get()
        self._thread.join()

    def take(self, step: int) -> Result:
        """Return the result of the next step, waiting for it if necessary."""
        if step != self._next:
            raise ValueError(f"step {step} was requested; the next one is {self._next}")
        result, error = self._made.get()
        if error is not None:
            # The thread has ended: leave the error for whoever tries again.
            self._made.put((None, error))
            raise error
        self._next += 1
        return result  # type: ignore[return-value]

    def _run(self, make: Callable[[int], Result], step: int) -> None:
        while not self._stop.is_set():
            try:
                result = make(step)
            except BaseException as error:
                self._made.put((None, error))
                return
            self._made.put((result, None))
            step += 1
