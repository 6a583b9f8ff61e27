"""Progress of a run: a live table on a terminal, a bar in a notebook, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import math
import time
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gahbench._util.errors import ResultsError
from gahbench._util.live_display import LiveDisplay
from gahbench._util.readable import format_duration, format_number
from gahbench.contracts.engines import Event
from gahbench.contracts.unit import Unit
from gahbench.store.store import Store

#: Scores that take longer than this are reported, in seconds.
_SLOW_SCORE = 20.0
#: The metric and split of the scores whose means are shown as soon as they are known.
SHOWN_SCORE = ("psnr", "test")
#: Seconds between two updates of the output in a notebook, and its number of columns.
_UPDATE_SECONDS, _WIDTH = 0.5, 110
_CODE = '<pre style="line-height: normal; white-space: pre; overflow-x: auto">{code}</pre>'


class ProgressReport(LiveDisplay):
    """Reports the progress of a run on a console; a context manager that is called with every event."""

    def __init__(self, total: int, done: int, console: Console, store: Store | None = None) -> None:
        self.total, self.done, self.failed, self.store = total, done, 0, store
        self.running: dict[str, tuple[Unit, dict[str, Any]]] = {}
        super().__init__(console)

    def __call__(self, event: Event) -> None:
        """Record an event, and report it."""
        unit, details = event.unit, event.details
        if unit is None:
            self.print(str(details["text"]), "yellow")
        elif event.kind == "note":
            self._print_unit(unit, details["text"], "yellow")
        elif event.kind in ("started", "progress"):
            self.running[unit.key] = (unit, details)
            if event.kind == "started" and unit.kind == "fit":
                self._print_unit(unit, "started")
        else:
            self.running.pop(unit.key, None)
            self.done += event.kind == "finished"
            self.failed += event.kind == "failed"
            if event.kind == "failed":
                self._print_unit(unit, f"failed: {details['error']}", "red")
            elif event.kind == "finished":
                # There are many scores, so only PSNRs, slow ones and the last are printed.
                psnr, seconds = self._psnr(unit), details["seconds"]
                if psnr or unit.kind == "fit" or seconds > _SLOW_SCORE or self.done + self.failed == self.total:
                    self._print_unit(unit, f"{psnr}done in {format_duration(seconds)}")

    def _psnr(self, unit: Unit) -> str:
        """Format the mean over noise levels and images of a PSNR on test images; empty for other units."""
        if self.store is None or (unit.metric, unit.split) != SHOWN_SCORE:
            return ""
        values: list[float] = []
        # On a network file system, a unit of another machine may not be visible yet.
        with contextlib.suppress(ResultsError, OSError):
            values = [value for _, _, value, part in self.store.read_scores(unit) if not part]
        mean = math.fsum(values) / len(values) if values else math.nan
        return f"{mean:.2f} dB, " if math.isfinite(mean) else ""

    def _print_unit(self, unit: Unit, text: str, style: str = "") -> None:
        self.print(self._unit_line(unit, text), style)

    def _unit_line(self, unit: Unit, text: str) -> str:
        return f"[{self.done + self.failed:>{len(str(self.total))}}/{self.total}] {unit.label}: {text}"

    def line(self) -> str:
        """Return a line on the running units."""
        if not (running := list(self.running.values())):
            return ""
        unit, details = max(running, key=lambda pair: bool(pair[1]))
        text = "running"
        if details:
            step, loss, psnr, left = _cells(details)
            speed = format_number(details["images_per_second"])
            text = f"step {step}, loss {loss}, {f'validation PSNR {psnr}, ' * bool(psnr)}{speed} images/s, {left} left"
        return self._unit_line(unit, text + (f"; and {len(running) - 1} more" if len(running) > 1 else ""))

    def render(self) -> RenderableType:
        """Return a table of the running units, and a line on the finished ones."""
        summary = Text(f"{self!r}; {format_duration(time.monotonic() - self.started)}", style="dim")
        if not self.running:
            return summary
        table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
        table.add_column("running", no_wrap=True, ratio=1)
        table.add_column("", width=12)
        for name in ("step", "loss", "PSNR", "left"):
            table.add_column(name, justify="right", no_wrap=True)
        for unit, details in list(self.running.values()):
            bar = ProgressBar(total=1.0, completed=details.get("fraction", 0.0), width=12, pulse=not details)
            # Labels contain brackets, which rich would take for markup.
            table.add_row(Text(unit.label), bar, *(_cells(details) if details else ()))
        return Group(table, summary)

    def __repr__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self.total} units done{failed}"


def _cells(details: dict[str, Any]) -> tuple[str, str, str, str]:
    """Format the step, loss, validation PSNR and time left of a fit."""
    step = f"{details['step']}/{details['steps']}" if details["steps"] else str(details["step"])
    psnr = "" if details["psnr"] is None else f"{details['psnr']:.2f} dB"
    return step, f"{details['loss']:.3g}", psnr, format_duration(max(1.0, details["remaining_seconds"]))


class NotebookReport(ProgressReport):
    """Shows the progress of a run in a cell of a notebook: a bar, the running units, notes and failures."""

    def __init__(self, total: int, done: int, console: Console, store: Store | None = None) -> None:
        super().__init__(total, done, console, store)
        self.notes: list[Text] = []
        self.shown = 0.0

    def __enter__(self) -> Self:
        from IPython.display import display

        self.display: Any = display(self, display_id=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.running.clear()
        self.display.update(self)

    def __call__(self, event: Event) -> None:
        """Record an event, and show it."""
        super().__call__(event)
        if time.monotonic() - self.shown > _UPDATE_SECONDS:
            self.display.update(self)
            self.shown = time.monotonic()

    def print(self, text: str, style: str = "") -> None:
        """Keep a note or a failure, which are the lines with a style."""
        if style:
            self.notes.append(Text(text, style=style))

    def _repr_html_(self) -> str:
        page = Console(record=True, file=io.StringIO(), width=_WIDTH, force_jupyter=False)
        page.print(self.render(), *self.notes, sep="\n")
        text = page.export_html(inline_styles=True, code_format=_CODE)
        return f'<progress value="{self.done + self.failed}" max="{self.total}" style="width: 100%"></progress>{text}'


def progress_report(total: int, done: int, store: Store, console: Console | None = None) -> ProgressReport:
    """Return the reporter for the progress of a run that suits the console, by default the standard error."""
    console = console or Console(stderr=True)
    kind = NotebookReport if console.is_jupyter else ProgressReport
    return kind(total, done, console, store)
