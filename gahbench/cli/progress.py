"""Progress display of commands that may take minutes."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from gahbench._util.readable import format_duration

#: Seconds until the first line, and between lines, if standard error is not a terminal.
FIRST_SECONDS, LINE_SECONDS = 3.0, 5.0
#: Share of the work after which the remaining time is estimated.
MIN_SHARE = 0.05


class Progress:
    """Progress display on standard error: a live line on a terminal, otherwise a line every five seconds.

    Use it as a context manager, and call it whenever the current step or the finished share changes.

    Parameters
    ----------
    command
        Name of the activity, such as ``inspecting``.
    """

    def __init__(self, command: str) -> None:
        self.command, self.text, self.share = command, "", 0.0
        self.started = time.monotonic()
        self._console = Console(stderr=True)
        self._live = Live(
            get_renderable=lambda: Text(self.line, no_wrap=True, overflow="ellipsis"),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._print_lines, daemon=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def __call__(self, text: str, share: float = 0.0) -> None:
        """Set the current step, and the finished share of the work in [0, 1]."""
        self.text, self.share = text, share

    @property
    def line(self) -> str:
        """Current line of the display."""
        elapsed = time.monotonic() - self.started
        remaining = (
            f", about {format_duration(elapsed * (1 - self.share) / self.share)} left" if self.share > MIN_SHARE else ""
        )
        return f"{self.command} for {format_duration(elapsed)}{remaining}{': ' * bool(self.text)}{self.text}"

    def _print_lines(self) -> None:
        seconds = FIRST_SECONDS
        while not self._ended.wait(seconds):
            print(self.line, file=sys.stderr, flush=True)
            seconds = LINE_SECONDS
