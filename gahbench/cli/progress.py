"""Progress display of commands that may take minutes."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

#: Seconds between two lines if the output is not a terminal.
LINE_SECONDS = 5.0


class Progress(Bars):
    """Progress display on standard error: a bar on a terminal, otherwise a line every few seconds.

    Use it as a context manager, and call it whenever the current step or the finished share changes.
    """

    def __init__(self, command: str) -> None:
        self.command, self._printed, console = command, time.monotonic(), Console(stderr=True)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(20),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        is_terminal = console.is_terminal
        super().__init__(*columns, console=console, transient=True, redirect_stdout=False, disable=not is_terminal)
        self._task = self.add_task(command, total=1.0)

    def __call__(self, text: str, share: float = 0.0) -> None:
        """Set the current step, and the finished share of the work in [0, 1]."""
        self.update(self._task, description=f"{self.command}: {text}", completed=share)
        if self.disable and time.monotonic() - self._printed > LINE_SECONDS:
            self._printed = time.monotonic()
            self.console.print(Text(f"{self.command}: {text}"), soft_wrap=True, highlight=False)
