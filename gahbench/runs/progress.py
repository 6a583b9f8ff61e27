"""Progress of a run and its scores so far: a live table on a terminal, a bar in a notebook, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import math
import threading
import time
from collections.abc import Sequence
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

#: Seconds between two lines on the running units, if the output is not a terminal: at first, and in long runs.
LINE_SECONDS, MAX_LINE_SECONDS = 5.0, 60.0
#: Lines become rarer when this share of the elapsed time is above the first number of seconds.
_LINE_SHARE = 0.02
#: Scores that take longer than this are reported, in seconds.
_SLOW_SCORE = 20.0
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
        #: When the last line was printed.
        self.printed = self.started
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._print_lines, daemon=True)
        self.live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        else:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def __call__(self, event: Event) -> None:
        """Record an event, and report it."""
        unit = event.unit
        if unit is None:
            self._print(str(event.details["text"]), "yellow")
            return
        if event.kind == "started":
            self.running[unit.key] = (unit, {})
            if unit.kind == "fit":
                self._print_line(unit, "started")
        elif event.kind == "progress":
            self.running[unit.key] = (unit, event.details)
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
                elif unit.kind == "fit" or seconds > _SLOW_SCORE or self.done + self.failed == self.total:
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

    def _print_lines(self) -> None:
        """Print a line on the running units every few seconds in which no other line is printed."""
        while not self._ended.wait(0.2 * LINE_SECONDS):
            now = time.monotonic()
            interval = min(MAX_LINE_SECONDS, max(LINE_SECONDS, _LINE_SHARE * (now - self.started)))
            if now - self.printed < interval or not (running := list(self.running.values())):
                continue
            unit, details = max(running, key=lambda pair: bool(pair[1]))
            others = f"; and {len(running) - 1} more" if len(running) > 1 else ""
            facts = ", ".join(_format_facts(details)) if details else "running"
            self._print_line(unit, f"{facts}{others}")

    def _print_line(self, unit: Unit, text: str, style: str = "") -> None:
        counter = f"[{self.done + self.failed:>{len(str(self.total))}}/{self.total}]"
        self._print(f"{counter} {unit.label}: {text}", style)

    def _print(self, text: str, style: str) -> None:
        line, self.printed = Text(text, style=style), time.monotonic()
        (self.live.console if self.console.is_terminal else self.console).print(line, soft_wrap=True, highlight=False)

    def _render(self) -> RenderableType:
        running = list(self.running.values())
        # Labels contain brackets, which rich would take for markup.
        cells = [_format_cells(details) for _, details in running]
        shown, label_width = _columns_that_fit([unit.label for unit, _ in running], cells, self.console.width)
        table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
        table.add_column("running", no_wrap=True)
        has_bar = self.console.width >= _MIN_BAR_WIDTH
        if has_bar:
            table.add_column("", width=_BAR_WIDTH)
        for index in shown:
            table.add_column(_COLUMNS[index], justify="right", no_wrap=True)
        for (unit, details), texts in zip(running, cells, strict=True):
            bar = ProgressBar(total=1.0, completed=details.get("fraction", 0.0), width=_BAR_WIDTH, pulse=not details)
            label = Text(_shortened(unit.label, label_width))
            table.add_row(label, *([bar] if has_bar else []), *(texts[index] for index in shown))
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
        for name in ("scored", "on"):
            table.add_column(name, no_wrap=True)
        table.add_column("mean PSNR", justify="right", no_wrap=True)
        width = self.console.width - len("mean PSNR") - 4
        for (dataset, entrant), values in list(self.scored.items())[-count:]:
            labels = (_shortened(entrant, width * 3 // 5), _shortened(dataset, width * 2 // 5))
            table.add_row(*map(Text, labels), f"{math.fsum(values) / len(values):.2f} dB")
        return table


#: Columns of the table of running units, and the order in which narrow terminals leave them out.
_COLUMNS, _DISPENSABLE = ("step", "loss", "PSNR", "images/s", "left"), (3, 1, 2)
#: Characters of a progress bar, of the narrowest terminal that shows it, and of a label that is not shortened further.
_BAR_WIDTH, _MIN_BAR_WIDTH, _MIN_LABEL_WIDTH = 12, 100, 40


def _columns_that_fit(labels: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> tuple[list[int], int]:
    """Return the indices of the columns that a terminal shows, and the width of labels; step and time left stay."""
    widths = [max(map(len, [name, *texts])) + 2 for name, *texts in zip(_COLUMNS, *cells, strict=True)]
    shown = list(range(len(_COLUMNS)))
    free = width - (_BAR_WIDTH + 2) * (width >= _MIN_BAR_WIDTH)
    wanted = min(_MIN_LABEL_WIDTH, max(map(len, labels), default=0))
    for index in _DISPENSABLE:
        if free - sum(widths[i] for i in shown) < wanted:
            shown.remove(index)
    return shown, free - sum(widths[i] for i in shown)


def _shortened(label: str, width: int) -> str:
    """Return a label of at most ``width`` characters, whose middle is left out if it is longer."""
    if len(label) <= width:
        return label
    end = max(1, width // 2)
    return f"{label[: max(1, width - end - 1)]}…{label[-end:]}"


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
