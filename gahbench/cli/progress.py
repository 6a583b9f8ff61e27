"""Progress display of commands that may take minutes."""

from __future__ import annotations

import time

from rich.console import Console

from gahbench._util.live_display import LiveDisplay
from gahbench._util.readable import format_duration

#: Share of the work after which the remaining time is estimated.
MIN_SHARE = 0.05


class Progress(LiveDisplay):
    """Progress display on standard error: a live line on a terminal, otherwise a line every few seconds.

    Use it as a context manager, and call it whenever the current step or the finished share changes.

    Parameters
    ----------
    command
        Name of the activity, such as ``inspecting``.
    """

    def __init__(self, command: str) -> None:
        self.command, self.text, self.share = command, "", 0.0
        super().__init__(Console(stderr=True))

    def __call__(self, text: str, share: float = 0.0) -> None:
        """Set the current step, and the finished share of the work in [0, 1]."""
        self.text, self.share = text, share

    def line(self) -> str:
        """Return the current line of the display."""
        elapsed, share = time.monotonic() - self.started, self.share
        left = f", about {format_duration(elapsed * (1 - share) / share)} left" if share > MIN_SHARE else ""
        return f"{self.command} for {format_duration(elapsed)}{left}{': ' * bool(self.text)}{self.text}"
