"""From a plan to a results folder: run unfinished units, then write the board."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gahbench.contracts.engines import Engine
from gahbench.contracts.jobs import Event, Job
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan
from gahbench.planning.replan import Replanner
from gahbench.planning.rows import base_label
from gahbench.registry.registry import Registry
from gahbench.runs.adoption import current_key
from gahbench.runs.collect import collect, state_digest
from gahbench.runs.environment import write_environment
from gahbench.store.folder import Folder
from gahbench.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results

Report = Callable[[Event], None]


@dataclass
class Outcome:
    """The outcome of a run.

    Parameters
    ----------
    folder
        The results folder.
    done, failed, waiting
        Numbers of units of the plan that are finished, that failed (or could not start since their fit failed), and
        that are still to be done because the run was stopped.
    stopped
        Whether the run was stopped before its end.
    left_out
        Entrants that an earlier run had added and that this board does not show, since they were measured otherwise:
        at other noise levels, say. Adding them again measures the missing scores.
    outdated
        Such entrants that this board does not show since they were measured with earlier code of their plugin, or of
        gahbench.
    """

    folder: Path
    done: int
    failed: int
    waiting: int
    stopped: bool
    left_out: tuple[str, ...]
    outdated: tuple[str, ...]
    _load: Callable[[], Results] = field(repr=False)

    @property
    def results(self) -> Results:
        """The results, read from the folder on first use."""
        return self._load()

    @property
    def scores(self) -> pd.DataFrame:
        """The tidy table of :class:`gahbench.board.results.Results`."""
        return self.results.scores

    def leaderboard(self) -> pd.DataFrame:
        """Return the board, a row for each dataset and entrant."""
        return self.results.leaderboard()


def run_plan(
    plan: Plan,
    folder: Path,
    registry: Registry,
    engine: str = "processes",
    workers: int | None = None,
    report: Report = lambda event: None,
) -> Outcome:
    """Run the unfinished units of a plan, and write the board.

    Parameters
    ----------
    plan
        The plan.
    folder
        The results folder, new or of the same suite and protocol.
    registry
        Where the engine, and in this process plugins, are looked up.
    engine
        Engine with its parameters.
    workers
        Number of workers; ``None`` leaves it to the engine.
    report
        Called with every event.

    Raises
    ------
    ResultsError
        If the folder belongs to another suite or protocol, or another run is using it.
    """
    from gahbench.board.results import load_results, saved_digest
    from gahbench.report.publish import publish

    runner: Engine = registry.create("engine", engine)
    home, stop = Folder(folder), threading.Event()
    with home.lock():
        replanner = Replanner(registry)
        extra, left_out, outdated = home.open(plan, lambda unit: current_key(unit, replanner) in (None, unit.key))
        store = Store(folder)
        if todo := _to_do(plan, store):
            notify = functools.partial(_notify, registry=registry, report=report)
            with _stop_on_signals(stop):
                runner.run(Job(todo, store, registry, notify, stop, _own_fits(plan), workers))
        units = [*plan.units, *extra]
        digest = state_digest(plan, units, store)
        if saved_digest(folder) != digest:
            # Where nothing is new, the files stay as they are.
            publish(collect(plan, units, store), folder, digest)
            write_environment(folder, registry)
    states = [_state(unit, store) for unit in plan.units]
    return Outcome(
        folder=folder,
        done=states.count("done"),
        failed=states.count("failed"),
        waiting=states.count("waiting"),
        stopped=stop.is_set(),
        left_out=left_out,
        outdated=outdated,
        _load=lambda: load_results(folder),
    )


def _to_do(plan: Plan, store: Store) -> list[Unit]:
    """Return the units that are not done, without the records of their failures."""
    # Units of one key are one: files of equal content, say, under two names.
    todo = list({unit.key: unit for unit in plan.units if not store.is_done(unit)}.values())
    for unit in todo:
        store.forget_failure(unit)
    return todo


def _own_fits(plan: Plan) -> int:
    """Return how many fits the suite's file has: entrants that are added must not change how the others round."""
    own = sum(base_label(unit.entrant) not in plan.suite.added for unit in plan.fits)
    return own or len(plan.fits) or len(plan.units)


def _state(unit: Unit, store: Store) -> str:
    if store.is_done(unit):
        return "done"
    blocked = any((store.failures / f"fit-{key}.json").is_file() for key in unit.needs)
    return "failed" if blocked or store.failure(unit) is not None else "waiting"


def _notify(event: Event, registry: Registry, report: Report) -> None:
    """Report an event, and call the lifecycle hooks of plugins."""
    report(event)
    hook = registry.manager.hook
    try:
        if event.kind == "started":
            hook.unit_started(unit=event.unit)
        elif event.kind == "finished":
            hook.unit_finished(unit=event.unit, seconds=event.details["seconds"])
        elif event.kind == "failed":
            hook.unit_failed(unit=event.unit, error=event.details["error"])
    except Exception as error:
        # A plugin that only watches must not cost a run of days.
        warnings.warn(
            f"a plugin's hook for a unit that {event.kind} raised {type(error).__name__}: {error}", stacklevel=2
        )


@contextlib.contextmanager
def _stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Let the first Ctrl-C or termination ask units to stop, and a second one interrupt at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: types.FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
