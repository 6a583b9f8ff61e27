"""Progress of a run where it is followed: a bar in a notebook, and otherwise that of a console."""

from __future__ import annotations

import io
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.text import Text

from gahbench._util.readable import duration
from gahbench.contracts.jobs import Event
from gahbench.runs.progress import ProgressReport
from gahbench.store.store import Store

if TYPE_CHECKING:
    from gahbench.runs.opening import OpenedRun

#: Seconds between two updates of a notebook's output, which is kept with each of them until it is cleared.
_PAUSE = 0.5
_WIDTH = 110
_CODE = '<pre style="line-height: normal; white-space: pre; overflow-x: auto">{code}</pre>'


def progress_of(opened: OpenedRun, console: Console | None = None) -> ProgressReport:
    """Return what reports the progress of a run, to be used as a context."""
    left = {unit.folder for unit in opened.todo}
    done = sum(unit.folder not in left for unit in opened.units)
    console = console or Console(stderr=True)
    kind = NotebookReport if console.is_jupyter else ProgressReport
    return kind(len(opened.units), done, console, Store(opened.folder))


class NotebookReport(ProgressReport):
    """Shows the progress of a run in the output of a notebook's cell: a bar, the running units, and what went wrong."""

    def __init__(self, total: int, done: int, console: Console, store: Store | None = None) -> None:
        super().__init__(total, done, console, store)
        self.notes: list[Text] = []
        self.display: Any = None
        self.shown = 0.0

    def __enter__(self) -> Self:
        from IPython.display import display

        self.display = display(self, display_id=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.running.clear()
        self.display.update(self)

    def __call__(self, event: Event) -> None:
        """Record an event, and show it."""
        super().__call__(event)
        if time.monotonic() - self.shown > _PAUSE:
            self.display.update(self)
            self.shown = time.monotonic()

    def __repr__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self.total} units done{failed}"

    def _repr_html_(self) -> str:
        page = Console(record=True, file=io.StringIO(), width=_WIDTH, force_jupyter=False)
        page.print(self._render() if self.running else Text(f"{self!r}; {duration(time.monotonic() - self.started)}"))
        for note in self.notes:
            page.print(note)
        text = page.export_html(inline_styles=True, code_format=_CODE)
        return f'<progress value="{self.done + self.failed}" max="{self.total}" style="width: 100%"></progress>{text}'

    def _print(self, text: str, style: str) -> None:
        if style:
            self.notes.append(Text(text, style=style))
