"""The state of a results folder during a run, from directory listings alone and without torch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gahbench._util.error_text import remove_library_frames
from gahbench._util.files import names_in
from gahbench._util.sealed import read_record
from gahbench.contracts.unit import Unit
from gahbench.runs.durations import OVERHEAD, Durations, image_values
from gahbench.runs.rows import select_rows
from gahbench.store.attempts import PARTIAL, PROGRESS
from gahbench.store.plan_file import RecordedPlan, require_plan
from gahbench.store.store import DAMAGED, Store


@dataclass(frozen=True)
class Running:
    """An attempt at a unit that has not ended: where it runs, and how far it has come.

    ``seconds`` is the time since its start, ``silent`` the time since it last reported, by the clock of this machine;
    ``progress`` has the fields of :class:`gahbench.training.trainer.Progress`, or is empty.
    """

    unit: Unit
    host: str
    process: int | None
    seconds: float
    silent: float
    progress: dict[str, Any]


@dataclass(frozen=True)
class Status:
    """The state of a results folder.

    Attributes
    ----------
    suite
        Name of the suite.
    done, failed, blocked, waiting
        Numbers of units that are finished, have failed, cannot run since their fit failed, and are left to do
        (including the running ones).
    running
        Attempts at units that have not ended; an attempt whose process was killed stays until the next run.
    failures
        Label and error of each failed unit.
    remaining
        Estimated seconds until all units are done; ``None`` if unknown.
    is_published
        Whether the folder is a published board without its units.
    damaged
        Number of units that were moved to ``damaged/``.
    """

    suite: str
    done: int
    failed: int
    blocked: int
    waiting: int
    running: tuple[Running, ...]
    failures: tuple[tuple[str, str], ...]
    remaining: float | None
    is_published: bool = False
    damaged: int = 0


def status(folder: str | Path) -> Status:
    """Return the state of a results folder: finished, failed and running units, and the estimated time left.

    Files of units are not read or compared with their checksums, as runs and :func:`gahbench.collect` do.

    Parameters
    ----------
    folder
        Path of a results folder.

    Returns
    -------
    Status
        The numbers of units that are ``done``, ``failed`` and ``waiting``, the ``running`` units, the ``failures``, and
        the ``remaining`` seconds.

    Raises
    ------
    ResultsError
        If the folder is not a results folder.

    Examples
    --------
    In a clone of the repository, a published board without its units:

    >>> import gahbench
    >>> state = gahbench.status("results/quick")
    >>> state.suite, state.is_published
    ('quick', True)
    """
    folder = Path(folder)
    plan, store = require_plan(folder), Store(folder)
    units = {unit.folder: unit for unit in plan.units}
    finished, failed = store.ended()
    states = store.states(plan.units)
    waiting = [unit for unit, state in zip(plan.units, states, strict=True) if state == "left"]
    running = tuple(_running({unit.folder: unit for unit in waiting}, store))
    seconds = _seconds_left(waiting, [unit for name, unit in units.items() if name in finished], plan, store)
    return Status(
        plan.suite,
        *(states.count("done"), states.count("failed"), states.count("blocked"), len(waiting)),
        running,
        tuple((units[name].label, store.failure_of(name)) for name in sorted(failed & units.keys())),
        None if seconds is None else seconds / max(1, len(running)) + (OVERHEAD if waiting else 0.0),
        not store.units.is_dir() and (folder / "results.json").is_file(),
        sum(PARTIAL not in name for name in names_in(folder / DAMAGED)),
    )


def _running(waiting: Mapping[str, Unit], store: Store) -> Iterator[Running]:
    """Yield the attempts at units that have not ended; of several attempts at a unit, the newest."""
    newest: dict[str, tuple[float, Path]] = {}
    for name in names_in(store.units):
        key, separator, _ = name.partition(PARTIAL)
        if separator and key in waiting:
            with contextlib.suppress(OSError):
                touched = (store.units / name / PROGRESS).stat().st_mtime
                newest[key] = max(newest.get(key, (0.0, Path())), (touched, store.units / name))
    for key, (touched, attempt) in sorted(newest.items()):
        report = read_record(attempt / PROGRESS)
        started, now = report.pop("started", touched), time.time()
        host, process = report.pop("host", "unknown"), report.pop("process", None)
        yield Running(waiting[key], host, process, max(0.0, now - started), max(0.0, now - touched), report)


def _seconds_left(waiting: list[Unit], done: list[Unit], plan: RecordedPlan, store: Store) -> float | None:
    """Return the estimated seconds that one worker would need for some units; ``None`` if unknown."""
    durations, values = Durations(), image_values(plan.board["datasets"])
    durations.add(done, store, values)
    times = [durations.estimate(unit, values) for unit in waiting]
    estimates = [seconds for seconds in times if seconds is not None]
    # A unit without an estimate is assumed to take as long as the longest.
    untimed = (len(times) - len(estimates)) * max(estimates, default=0.0)
    return None if waiting and not estimates else sum(estimates) + untimed


@dataclass(frozen=True)
class Failure:
    """Units that failed with the same error and traceback, and the number of units that they block."""

    units: tuple[str, ...]
    error: str
    traceback: str
    blocked: int


def failures(folder: Path, entrants: Sequence[str] = (), full: bool = False) -> list[Failure]:
    """Return the failures of a results folder, grouped by error and traceback."""
    units, store = require_plan(folder).units, Store(folder)
    labels = list(dict.fromkeys(unit.entrant for unit in units))
    rows = select_rows(entrants, labels, str(folder)) if entrants else labels
    failed = store.failed()
    groups: dict[tuple[str, str], dict[str, Unit]] = {}
    for unit in units:
        if unit.folder in failed and unit.entrant in rows:
            details = store.failure_record(unit.folder).get("traceback")
            text = details.strip("\n") if isinstance(details, str) else ""
            reason = store.failure_of(unit.folder), text if full else remove_library_frames(text)
            groups.setdefault(reason, {})[unit.folder] = unit
    return [
        Failure(
            tuple(unit.label for unit in group.values()),
            error,
            text,
            sum(unit.folder not in failed and unit.is_blocked(group.keys()) for unit in units),
        )
        for (error, text), group in groups.items()
    ]
