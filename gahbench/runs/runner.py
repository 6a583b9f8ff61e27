"""From a plan to a results folder: run unfinished units, then write the board."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gahbench.contracts.engines import Engine
from gahbench.contracts.jobs import Event, Job
from gahbench.registry.registry import Registry
from gahbench.runs.collect import write_results
from gahbench.runs.hooks import Trackings, notify, notify_finished, notify_started
from gahbench.runs.supervisor import stop_on_signals
from gahbench.runs.work import count_states
from gahbench.store.examined import warn_of_damage
from gahbench.store.store import DAMAGED, Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from gahbench.board.results import Results
    from gahbench.runs.opening import OpenedRun
    from gahbench.runs.reuse import Reused

Report = Callable[[Event], None]


@dataclass
class Outcome:
    """The outcome of a run."""

    folder: Path
    done: int
    failed: int
    blocked: int
    waiting: int
    stopped: bool
    left_out: tuple[str, ...]
    outdated: tuple[str, ...]
    _load: Callable[[], Results] = field(repr=False)
    reused: Reused | None = None
    failed_fits: int = 0
    unfinished: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def results(self) -> Results:
        """The results, read from the folder on first use."""
        return self._load()

    @property
    def scores(self) -> pd.DataFrame:
        """The tidy table of :class:`gahbench.board.results.Results`."""
        return self.results.scores

    def leaderboard(self, full: bool = False) -> pd.DataFrame:
        """Return the board, a row for each dataset and entrant; ``full`` as of :meth:`gahbench.Results.leaderboard`."""
        return self.results.leaderboard(full)

    def figure(self, dataset: str | None = None, metrics: Sequence[str] = ()) -> Figure:
        """Draw a figure of a dataset, as :meth:`gahbench.Results.figure` does."""
        return self.results.figure(dataset, metrics)


def warn_of_moved(reasons: Iterable[str], folder: Path) -> None:
    """Warn of units that were not as they were written, and were moved away."""
    warn_of_damage(reasons, f"moved to {folder / DAMAGED}, to be done again")


def workers_here(engine: str, workers: int | None) -> int | None:
    """Return the number of workers among which this machine's processors are shared out, as far as it was given."""
    return workers if engine.partition("[")[0] == "processes" else None


def run_opened(
    opened: OpenedRun,
    registry: Registry,
    engine: str = "processes",
    workers: int | None = None,
    report: Report = lambda event: None,
    device: str = "auto",
    track: Trackings | None = None,
) -> Outcome:
    """Run the unfinished units of a run whose plan is recorded, and write the board."""
    from gahbench.board.results import load_results

    folder = opened.folder
    warn_of_moved(opened.damaged, folder)
    runner: Engine = registry.create("engine", engine)
    store, stop = Store(folder), threading.Event()
    with (track or Trackings(())).of(registry):
        notify_started(registry, folder, opened.units, opened.todo)
        if opened.todo:
            reported = functools.partial(notify, registry, report)
            job = Job(opened.todo, store, registry, reported, stop, opened.threads, workers, device)
            with stop_on_signals(stop):
                runner.run(replace(job, files=opened.files, limits=opened.limits))
        collected = write_results(folder, opened.problems)
        counts = count_states(opened.units, store, collected.damaged)
        notify_finished(registry, folder, lambda: load_results(folder))
    return Outcome(
        folder=folder,
        done=counts.done,
        failed=counts.failed + counts.blocked,
        blocked=counts.blocked,
        waiting=counts.left,
        stopped=stop.is_set(),
        left_out=opened.left_out,
        outdated=opened.outdated,
        _load=lambda: load_results(folder),
        reused=opened.reused,
        failed_fits=counts.failed_fits,
        unfinished=opened.unfinished,
        stale=opened.stale,
        dropped=opened.dropped,
    )
