"""What a long preparation of images tells while it goes on."""

from __future__ import annotations

import sys
import time

from gahbench import duration

#: Seconds between two lines; what takes less is not told of.
LINE_SECONDS = 10.0


class Waiting:
    """Tell on standard error how far a job is, a line every ten seconds.

    Parameters
    ----------
    what
        The job, such as ``decoding faces/``.
    total
        How many images it is over.
    """

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total = what, total
        self.started = self.told = time.monotonic()

    def __call__(self, done: int) -> None:
        """Take note that so many images are done."""
        now = time.monotonic()
        if now - self.told < LINE_SECONDS or not done:
            return
        self.told = now
        left = (now - self.started) * (self.total - done) / done
        print(f"{self.what}: {done} of {self.total} images, {duration(left)} left", file=sys.stderr, flush=True)
