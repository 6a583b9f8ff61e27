"""Progress of a run and its scores so far: a live table on a terminal, a bar in a notebook, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import math
import time
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gahbench._util.errors import ResultsError
from gahbench._util.readable import format_duration, format_number
from gahbench.contracts.engines import Event
from gahbench.contracts.unit import Unit
from gahbench.store.store import Store

if TYPE_CHECKING:
    from gahbench.runs.opening import OpenedRun

#: Seconds between two lines about the same fit, if the output is not a terminal.
LINE_SECONDS = 20.0
#: The metric and split of the scores whose means are shown as soon as they are known.
SHOWN_SCORE = ("psnr", "test")
#: The number of lines of a terminal that the table of scores leaves free, and the minimum number of its own lines.
_OTHER_LINES, _MIN_LINES = 8, 3


class ProgressReport:
    """Reports the progress of a run on a console; a context manager that is called with every event."""

    def __init__(self, total: int, done: int, console: Console, store: Store | None = None) -> None:
        self.total, self.done, self.failed = total, done, 0
        self.console = console
        self.store = store
        #: The mean PSNR of each training seed, by dataset and entrant; the latest row is last.
        self.scored: dict[tuple[str, str], list[float]] = {}
        self.running: dict[str, tuple[Unit, dict[str, Any]]] = {}
        self.started = time.monotonic()
        self.reported: dict[str, float] = {}
        self.live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def __call__(self, event: Event) -> None:
        """Record an event, and report it."""
        unit, now = event.unit, time.monotonic()
        if unit is None:
            self._print(str(event.details["text"]), "yellow")
            return
        if event.kind == "started":
            self.running[unit.key] = (unit, {})
            self.reported.setdefault(unit.key, now)
            if unit.kind == "fit":
                self._print_line(unit, "started")
        elif event.kind == "progress":
            self.running[unit.key] = (unit, event.details)
            if now - self.reported.get(unit.key, now) > LINE_SECONDS and not self.console.is_terminal:
                self.reported[unit.key] = now
                self._print_line(unit, ", ".join(_format_facts(event.details)))
        elif event.kind == "note":
            self._print_line(unit, event.details["text"], "yellow")
        else:
            self.running.pop(unit.key, None)
            if event.kind == "finished":
                self.done += 1
                # There are many scores, so only slow ones and the last are printed.
                seconds = event.details["seconds"]
                if (psnr := self._psnr(unit)) is not None:
                    row = (unit.dataset, unit.entrant)
                    self.scored[row] = [*self.scored.pop(row, []), psnr]
                    if not self.console.is_terminal:
                        self._print_line(unit, f"{psnr:.2f} dB, done in {format_duration(seconds)}")
                elif unit.kind == "fit" or seconds > LINE_SECONDS or self.done + self.failed == self.total:
                    self._print_line(unit, f"done in {format_duration(seconds)}")
            elif event.kind == "failed":
                self.failed += 1
                self._print_line(unit, f"failed: {event.details['error']}", "red")

    def _psnr(self, unit: Unit) -> float | None:
        """Return the mean over noise levels and images of a finished PSNR on test images; ``None`` for other units."""
        if self.store is None or (unit.metric, unit.split) != SHOWN_SCORE:
            return None
        values: list[float] = []
        # On a network file system, a unit of another machine may not be visible yet.
        with contextlib.suppress(ResultsError, OSError):
            values = [value for _, _, value, part in self.store.read_scores(unit) if not part]
        mean = math.fsum(values) / len(values) if values else math.nan
        return mean if math.isfinite(mean) else None

    def _print_line(self, unit: Unit, text: str, style: str = "") -> None:
        counter = f"[{self.done + self.failed:>{len(str(self.total))}}/{self.total}]"
        self._print(f"{counter} {unit.label}: {text}", style)

    def _print(self, text: str, style: str) -> None:
        line = Text(text, style=style)
        (self.live.console if self.console.is_terminal else self.console).print(line, soft_wrap=True, highlight=False)

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
        table.add_column("running", no_wrap=True, max_width=52)
        table.add_column("", width=12)
        for name in ("step", "loss", "PSNR", "images/s", "left"):
            table.add_column(name, justify="right", no_wrap=True)
        for unit, details in self.running.values():
            bar = ProgressBar(total=1.0, completed=details.get("fraction", 0.0), width=12, pulse=not details)
            # Labels contain brackets, which rich would take for markup.
            table.add_row(Text(unit.label), bar, *_format_cells(details))
        parts: list[RenderableType] = [table]
        if self.scored:
            parts.append(self._render_scores())
        failed = f", {self.failed} failed" if self.failed else ""
        elapsed = format_duration(time.monotonic() - self.started)
        return Group(*parts, Text(f"{self.done} of {self.total} units done{failed}; {elapsed}", style="dim"))

    def _render_scores(self) -> RenderableType:
        """Return a table of the latest scores, as many as fit on the screen."""
        count = max(_MIN_LINES, self.console.height - len(self.running) - _OTHER_LINES)
        table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
        table.add_column("scored", no_wrap=True, max_width=52)
        table.add_column("on", no_wrap=True, max_width=32)
        table.add_column("mean PSNR", justify="right", no_wrap=True)
        for (dataset, entrant), values in list(self.scored.items())[-count:]:
            table.add_row(Text(entrant), Text(dataset), f"{math.fsum(values) / len(values):.2f} dB")
        return table


def _format_cells(details: dict[str, Any]) -> list[str]:
    if not details:
        return [""] * 5
    steps = f"/{details['steps']}" if details["steps"] else ""
    psnr = f"{details['psnr']:.2f} dB" if details["psnr"] is not None else ""
    return [
        f"{details['step']}{steps}",
        f"{details['loss']:.3g}",
        psnr,
        format_number(details["images_per_second"]),
        format_duration(max(1.0, details["remaining_seconds"])),
    ]


def _format_facts(details: dict[str, Any]) -> list[str]:
    step, loss, psnr, speed, left = _format_cells(details)
    validation = [f"validation PSNR {psnr}"] if psnr else []
    return [f"step {step}", f"loss {loss}", *validation, f"{speed} images/s", f"{left} left"]


#: Seconds between two updates of the output in a notebook.
_UPDATE_SECONDS = 0.5
_WIDTH = 110
_CODE = '<pre style="line-height: normal; white-space: pre; overflow-x: auto">{code}</pre>'


def progress_report(opened: OpenedRun, console: Console | None = None) -> ProgressReport:
    """Return the reporter for the progress of a run that suits the console."""
    unfinished = {unit.folder for unit in opened.todo}
    done = sum(unit.folder not in unfinished for unit in opened.units)
    console = console or Console(stderr=True)
    kind = NotebookReport if console.is_jupyter else ProgressReport
    return kind(len(opened.units), done, console, Store(opened.folder))


class NotebookReport(ProgressReport):
    """Shows the progress of a run in a cell of a notebook: a bar, the running units, notes and failures."""

    def __init__(self, total: int, done: int, console: Console, store: Store | None = None) -> None:
        super().__init__(total, done, console, store)
        self.notes: list[Text] = []
        self.display: Any = None
        self.shown = 0.0

    def __enter__(self) -> Self:
        from IPython.display import display

        self.display = display(self, display_id=True)
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

    def __repr__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self.total} units done{failed}"

    def _repr_html_(self) -> str:
        page = Console(record=True, file=io.StringIO(), width=_WIDTH, force_jupyter=False)
        page.print(
            self._render() if self.running else Text(f"{self!r}; {format_duration(time.monotonic() - self.started)}")
        )
        for note in self.notes:
            page.print(note)
        text = page.export_html(inline_styles=True, code_format=_CODE)
        return f'<progress value="{self.done + self.failed}" max="{self.total}" style="width: 100%"></progress>{text}'

    def _print(self, text: str, style: str) -> None:
        if style:
            self.notes.append(Text(text, style=style))
