"""Progress of commands that may take minutes."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from gahbench._util.readable import duration

#: Seconds until the first line where there is no terminal, and between two lines.
FIRST_SECONDS, LINE_SECONDS = 3.0, 10.0
#: The time that is left is estimated once this share of the work is done.
LEAST_SHARE = 0.05


class Progress:
    """Shows on standard error what a command does: a live line on a terminal, elsewhere a line every ten seconds.

    It is used as a context, and called whenever something else is done.

    Parameters
    ----------
    command
        The command, such as ``inspecting``.
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
        """Record what is done now, and which share of all work, in [0, 1], is finished."""
        self.text, self.share = text, share

    @property
    def line(self) -> str:
        """The line to show now."""
        spent = time.monotonic() - self.started
        left = f", about {duration(spent * (1 - self.share) / self.share)} left" if self.share > LEAST_SHARE else ""
        return f"{self.command} for {duration(spent)}{left}{': ' * bool(self.text)}{self.text}"

    def _print_lines(self) -> None:
        seconds = FIRST_SECONDS
        while not self._ended.wait(seconds):
            print(self.line, file=sys.stderr, flush=True)
            seconds = LINE_SECONDS
