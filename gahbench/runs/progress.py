"""The progress of a run: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from gahbench._util.errors import ResultsError
from gahbench._util.readable import format_duration
from gahbench.contracts.engines import Event
from gahbench.contracts.unit import Unit
from gahbench.planning.units import AUDITED
from gahbench.store.store import Store

#: Scores that take longer than this are reported, in seconds.
_SLOW_SCORE = 20.0
#: Seconds between two lines about running fits if the output is not a terminal.
LINE_SECONDS = 30.0


class ProgressReport(Progress):
    """Reports the progress of a run on a console; a context manager that is called with every event."""

    def __init__(self, total: int, done: int, console: Console, store: Store | None = None) -> None:
        self.total, self.done, self.failed, self.store = total, done, 0, store
        self._printed = time.monotonic()
        # Labels contain brackets, which rich would take for markup.
        name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1))
        state = TextColumn("{task.fields[state]}", markup=False, table_column=Column(no_wrap=True))
        super().__init__(
            *(name, BarColumn(10), TimeElapsedColumn(), state),
            console=console,
            transient=True,
            redirect_stdout=False,
            disable=not console.is_terminal,
            expand=True,
        )
        self._running: dict[str, TaskID] = {}
        self._all = self.add_task("all units", total=total, completed=done, state="")

    def __call__(self, event: Event) -> None:
        """Record an event, and report it."""
        unit, details = event.unit, event.details
        if unit is None:
            self._print(str(details["text"]), "yellow")
        elif event.kind == "note":
            self._print_unit(unit, details["text"], "yellow")
        elif event.kind == "started":
            self._running[unit.key] = self.add_task(unit.label, total=None, state="")
            if unit.kind == "fit":
                self._print_unit(unit, "started")
        elif event.kind == "progress":
            self._on_progress(unit, details)
        else:
            self._on_end(unit, event)

    def _on_progress(self, unit: Unit, details: dict[str, Any]) -> None:
        steps = f"/{details['steps']}" if details["steps"] else ""
        quality = f"loss {details['loss']:.3g}" if details["psnr"] is None else f"{details['psnr']:.2f} dB"
        left = format_duration(max(1.0, details["remaining_seconds"]))
        state = f"step {details['step']}{steps}, {quality}, {left} left"
        self.update(self._running[unit.key], total=1.0, completed=details["fraction"], state=state)
        if self.disable and time.monotonic() - self._printed > LINE_SECONDS:
            self._print_unit(unit, state)

    def _on_end(self, unit: Unit, event: Event) -> None:
        self.remove_task(self._running.pop(unit.key))
        self.done += event.kind == "finished"
        self.failed += event.kind == "failed"
        failed = f", {self.failed} failed" if self.failed else ""
        state = f"{self.done} of {self.total} units done{failed}"
        self.update(self._all, completed=self.done + self.failed, state=state)
        if event.kind == "failed":
            self._print_unit(unit, f"failed: {event.details['error']}", "red")
        else:
            # There are many scores, so only PSNRs, slow ones and the last are printed.
            psnr, seconds = self._psnr(unit), event.details["seconds"]
            if psnr or unit.kind == "fit" or seconds > _SLOW_SCORE or self.done + self.failed == self.total:
                self._print_unit(unit, f"{psnr}done in {format_duration(seconds)}")

    def _psnr(self, unit: Unit) -> str:
        """Format the mean over noise levels and images of a PSNR on test images; empty for other units."""
        values: list[float] = []
        if self.store is not None and (unit.metric, unit.split) == AUDITED:
            # On a network file system, a unit of another machine may not be visible yet.
            with contextlib.suppress(ResultsError, OSError):
                values = [value for _, _, value, part in self.store.read_scores(unit) if not part]
        mean = math.fsum(values) / len(values) if values else math.nan
        return f"{mean:.2f} dB, " if math.isfinite(mean) else ""

    def _print_unit(self, unit: Unit, text: str, style: str = "") -> None:
        width = len(str(self.total))
        self._print(f"[{self.done + self.failed:>{width}}/{self.total}] {unit.label}: {text}", style)

    def _print(self, text: str, style: str) -> None:
        self._printed = time.monotonic()
        self.console.print(Text(text, style=style), soft_wrap=True, highlight=False)


def progress_report(total: int, done: int, store: Store) -> ProgressReport:
    """Return the reporter for the progress of a run on the standard error."""
    # In a notebook, lines of plain text take less space than outputs of HTML.
    return ProgressReport(total, done, Console(stderr=True, force_jupyter=False), store)
