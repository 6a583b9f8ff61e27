"""Progress of a long preparation of images."""

from __future__ import annotations

import sys
import time

from gahbench import duration

#: Seconds between two lines; shorter jobs print none.
LINE_SECONDS = 10.0


class Waiting:
    """Reports the progress of a job on standard error, a line every ten seconds."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total = what, total
        self.started = self.reported = time.monotonic()

    def __call__(self, done: int) -> None:
        """Record that so many images are done."""
        now = time.monotonic()
        if now - self.reported < LINE_SECONDS or not done:
            return
        self.reported = now
        left = (now - self.started) * (self.total - done) / done
        print(f"{self.what}: {done} of {self.total} images, {duration(left)} left", file=sys.stderr, flush=True)
