"""Signals that ask a run to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
import types
from collections.abc import Iterator

#: Ctrl-C, the end of a job by whoever started it, and the notice that schedulers give before it.
_NAMES = ("SIGINT", "SIGTERM", "SIGUSR2")


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Let the first signal ask units to stop, which write checkpoints, and a second Ctrl-C interrupt at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: types.FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
