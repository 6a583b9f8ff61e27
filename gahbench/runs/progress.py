"""The progress of a run: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from gahbench._util.readable import format_duration
from gahbench.contracts.unit import Unit
from gahbench.planning.units import AUDITED

#: Scores that take longer than this are printed, in seconds.
_SLOW_SCORE = 20.0
#: Seconds between two lines about running fits if the output is not a terminal.
LINE_SECONDS = 30.0


class Display(Progress):
    """Shows on a console, by default the standard error, what happens to units; a context manager."""

    def __init__(self, total: int, done: int = 0, console: Console | None = None, quiet: bool = False) -> None:
        self.total, self.done, self.failed, self._printed = total, done, 0, time.monotonic()
        # In a notebook, lines of plain text take less space than outputs of HTML.
        console = console or Console(stderr=True, force_jupyter=False, quiet=quiet)
        # Labels contain brackets, which rich would take for markup.
        name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1))
        state = TextColumn("{task.fields[state]}", markup=False, table_column=Column(no_wrap=True))
        super().__init__(
            *(name, BarColumn(10), TimeElapsedColumn(), state),
            console=console,
            transient=True,
            redirect_stdout=False,
            disable=quiet or not console.is_terminal,
            expand=True,
        )
        self._running: dict[str, TaskID] = {}
        self._all = self.add_task("all units", total=total, completed=done, state="")

    def note(self, text: str, unit: Unit | None = None, style: str = "yellow") -> None:
        """Print a note on a unit, or on the whole run."""
        self._printed, width = time.monotonic(), len(str(self.total))
        place = f"[{self.done + self.failed:>{width}}/{self.total}] {unit.label}: " if unit else ""
        self.console.print(Text(place + text, style=style), soft_wrap=True, highlight=False)

    def begin(self, unit: Unit) -> None:
        """Show that a unit has started."""
        self._running[unit.key] = self.add_task(unit.label, total=None, state="")
        if unit.kind == "fit":
            self.note("started", unit, "")

    def report(self, unit: Unit, progress: Mapping[str, Any]) -> None:
        """Show the progress of a running fit, as :class:`gahbench.training.trainer.Trainer` reports it."""
        steps = f"/{progress['steps']}" if progress["steps"] else ""
        quality = f"loss {progress['loss']:.3g}" if progress["psnr"] is None else f"{progress['psnr']:.2f} dB"
        left = format_duration(max(1.0, progress["remaining_seconds"]))
        state = f"step {progress['step']}{steps}, {quality}, {left} left"
        self.update(self._running[unit.key], total=1.0, completed=progress["fraction"], state=state)
        if self.disable and time.monotonic() - self._printed > LINE_SECONDS:
            self.note(state, unit, "")

    def fail(self, unit: Unit, error: str) -> None:
        """Show that a unit has failed."""
        self.failed += 1
        self._end(unit)
        self.note(f"failed: {error}", unit, "red")

    def finish(self, unit: Unit, seconds: float, means: Mapping[str, float]) -> None:
        """Show that a unit is finished, with the mean over noise levels of its PSNR on test images in dB."""
        self.done += 1
        self._end(unit)
        is_audited = (unit.metric, unit.split) == AUDITED and means
        mean = math.fsum(means.values()) / len(means) if is_audited else math.nan
        psnr = f"{mean:.2f} dB, " if math.isfinite(mean) else ""
        # There are many scores, so only PSNRs, slow ones and the last are printed.
        if psnr or unit.kind == "fit" or seconds > _SLOW_SCORE or self.done + self.failed == self.total:
            self.note(f"{psnr}done in {format_duration(seconds)}", unit, "")

    def _end(self, unit: Unit) -> None:
        self.remove_task(self._running.pop(unit.key))
        failed = f", {self.failed} failed" if self.failed else ""
        state = f"{self.done} of {self.total} units done{failed}"
        self.update(self._all, completed=self.done + self.failed, state=state)
