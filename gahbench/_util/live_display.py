"""Displays of work that takes a while: live on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import threading
import time
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

#: Seconds between two lines if the output is not a terminal: at first, and in long work.
LINE_SECONDS, MAX_LINE_SECONDS = 5.0, 60.0
#: Lines become rarer when this share of the elapsed time is above the first number of seconds.
_LINE_SHARE = 0.02


class LiveDisplay:
    """Shows the state of some work on a console while the context is open: :meth:`render`, or else :meth:`line`."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = self.printed = time.monotonic()
        # The display calls :meth:`render` at once, so subclasses set their attributes first.
        self._live = Live(get_renderable=self.render, console=console, transient=True, redirect_stdout=False)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._print_lines, daemon=True)

    def render(self) -> RenderableType:
        """Return what a terminal shows."""
        return Text(self.line(), no_wrap=True, overflow="ellipsis")

    def line(self) -> str:
        """Return the line that is printed if no other line was printed for a while; empty for none."""
        raise NotImplementedError

    def print(self, text: str, style: str = "") -> None:
        """Print a line, above the live display of a terminal."""
        self.printed = time.monotonic()
        self.console.print(Text(text, style=style), soft_wrap=True, highlight=False)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        else:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _print_lines(self) -> None:
        while not self._ended.wait(0.2 * LINE_SECONDS):
            now = time.monotonic()
            interval = min(MAX_LINE_SECONDS, max(LINE_SECONDS, _LINE_SHARE * (now - self.started)))
            if now - self.printed >= interval and (line := self.line()):
                self.print(line)
