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
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan
from gahbench.planning.replan import Replanner
from gahbench.planning.units import AUDITED, CHECKS
from gahbench.registry.behaviour import computed_by
from gahbench.registry.registry import Registry
from gahbench.runs.adoption import current_key
from gahbench.runs.collect import collect
from gahbench.runs.hooks import notify, notify_finished, notify_started
from gahbench.runs.signals import stop_on_signals
from gahbench.runs.tracking import Trackings
from gahbench.runs.work import count_states
from gahbench.store.examined import warn_of_damage
from gahbench.store.folder import Folder, Opened
from gahbench.store.store import DAMAGED, UNCHECKED, Store

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


def open_folder(
    plan: Plan,
    folder: Path,
    registry: Registry,
    threads: int | None = None,
    workers: int | None = None,
    replaces_board: bool = True,
) -> tuple[Opened, list[Unit]]:
    """Record a plan in a results folder, and return with it the units that are to be done."""
    home, store, replanner = Folder(folder), Store(folder), Replanner(registry)
    with home.lock():
        opened = home.open(
            plan,
            registry,
            threads,
            workers,
            lambda unit: current_key(unit, replanner) in (None, unit.key),
            replaces_board,
        )
        damaged = store.set_aside(plan.units)
        store.put_away(_with_other_checks(plan.units, store), UNCHECKED)
        finished = store.finished()
        # Units of one key are one: files of equal content, say, under two names.
        todo = list({unit.key: unit for unit in plan.units if unit.folder not in finished}.values())
        failed = store.failed()
        for unit in plan.units:
            if unit.folder in failed:
                store.forget_failure(unit)
    return replace(opened, damaged=tuple(damaged.values())), todo


def _with_other_checks(units: Iterable[Unit], store: Store) -> list[str]:
    """Return the folder names of finished scores whose denoiser was checked by other code than there is here."""
    finished, code = store.finished(), computed_by(CHECKS)
    scores = {unit.folder: unit for unit in units if (unit.metric, unit.split) == AUDITED and unit.folder in finished}
    records = {name: store.done(unit) or {} for name, unit in scores.items()}
    return [name for name, done in records.items() if done.get("checks", {}).get("code") != code]


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
        collected = collect(folder, opened.problems)
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
