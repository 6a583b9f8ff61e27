"""The state of a results folder while processes work in it, from directory listings alone and without torch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gahbench._util.error_text import remove_library_frames
from gahbench._util.errors import ResultsError
from gahbench._util.files import names_in
from gahbench.contracts.engines import Event, Job
from gahbench.contracts.unit import Unit
from gahbench.runs.durations import OVERHEAD, Durations, image_values, seconds_of
from gahbench.runs.queue import Queue
from gahbench.runs.rows import select_rows
from gahbench.store.attempts import PARTIAL
from gahbench.store.leases import LEASE_SECONDS, Leases
from gahbench.store.plan_file import RecordedPlan, require_plan
from gahbench.store.store import DAMAGED, Store


@dataclass(frozen=True)
class Running:
    """A unit that a process claimed ``seconds`` ago; ``is_lost`` if the process has since died or fallen silent."""

    unit: Unit
    host: str
    process: int | None
    job: str | None
    seconds: float
    losses: int
    is_lost: bool


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
        Units that processes have claimed.
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


def status(folder: str | Path, lease: float = LEASE_SECONDS) -> Status:
    """Return the state of a results folder: finished, failed and running units, and the estimated time left.

    Files of units are not read or compared with their checksums, as runs and :func:`gahbench.collect` do.

    Parameters
    ----------
    folder
        Path of a results folder.
    lease
        Seconds above 0 after which a unit whose process no longer refreshes its claim counts as lost; by default 300,
        or the value of the environment variable ``GAHBENCH_LEASE_SECONDS``.

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
    blocked = {
        name for name, unit in units.items() if name not in finished and name not in failed and unit.is_blocked(failed)
    }
    ended = finished | failed | blocked
    waiting = [unit for name, unit in units.items() if name not in ended]
    leases = Leases(store.leases, lease)
    claimed = leases.names() & {unit.folder for unit in waiting}
    held_leases = [held for name in sorted(claimed) if (held := leases.inspect(name)) is not None]
    now = leases.now()
    running = []
    for held in held_leases:
        record = held.record
        age = max(0.0, now - (record.since or now))
        running.append(
            Running(units[held.name], record.host, record.pid, record.job, age, record.losses, held.is_stale)
        )
    active = sum(not unit.is_lost for unit in running)
    seconds = _seconds_left(waiting, [unit for name, unit in units.items() if name in finished], plan, store)
    return Status(
        plan.suite,
        sum(name in finished for name in units),
        len(failed & units.keys()),
        len(blocked),
        len(waiting),
        tuple(running),
        tuple((units[name].label, store.failure_of(name)) for name in sorted(failed & units.keys())),
        None if seconds is None else seconds / max(1, active) + (OVERHEAD if waiting else 0.0),
        not store.units.is_dir() and (folder / "results.json").is_file(),
        sum(PARTIAL not in name for name in names_in(folder / DAMAGED)),
    )


def _seconds_left(waiting: list[Unit], done: list[Unit], plan: RecordedPlan, store: Store) -> float | None:
    """Return the estimated seconds that one worker would need for some units; ``None`` if unknown."""
    durations, values = Durations(), image_values(plan.board["datasets"])
    durations.add(done, store, values)
    times = [durations.estimate(unit, values) for unit in waiting]
    estimates = [seconds for seconds in times if seconds is not None]
    return (
        None
        if waiting and not estimates
        else sum(estimates) + (len(times) - len(estimates)) * max(estimates, default=0.0)
    )


def watch(folder: Path, seconds: float = 2.0) -> Iterable[Status]:
    """Yield the state of a results folder every few seconds, until no unit is left."""
    while True:
        current = status(folder)
        yield current
        if not current.waiting or current.is_published:
            return
        time.sleep(seconds)


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


class Watch:
    """Follows the units of a job that other processes run on any machine, by listing the store.

    Parameters
    ----------
    job
        The job; its ``report`` is called with the events.

    Examples
    --------
    An engine starts processes elsewhere, and waits until they have finished all units:

    >>> import subprocess
    >>> import gahbench
    >>> class Background(gahbench.Engine):
    ...     def run(self, job):
    ...         process = subprocess.Popen(gahbench.work_command(job))
    ...         watch = gahbench.Watch(job)
    ...         while watch.update() and process.poll() is None:
    ...             job.stop.wait(1.0)
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._queue = Queue(job.units, job.store)
        self._units = {unit.folder: unit for unit in job.units}
        self._started: set[str] = set()
        self._ended: set[str] = set()

    def update(self) -> int:
        """List the store, report changes since the last call, and return the number of units left to do."""
        try:
            finished, failed = self._queue.refresh()
            claimed = self._queue.leases.names()
        except OSError:
            return self._queue.left  # The file server may respond again at the next call.
        for name in sorted((claimed | finished | failed) - self._ended):
            unit = self._units.get(name)
            if unit is not None and name not in self._started:
                self._started.add(name)
                self._job.report(Event("started", unit))
            if unit is None or name not in finished | failed:
                continue
            self._ended.add(name)
            if name in finished:
                self._job.report(Event("finished", unit, {"seconds": self._seconds(unit)}))
            else:
                error = self._job.store.failure_of(name)
                self._job.report(Event("failed", unit, {"error": error, "traceback": ""}))
        return self._queue.left

    def _seconds(self, unit: Unit) -> float:
        """Return the recorded duration of a unit in seconds; 0 if no duration is recorded."""
        try:
            return seconds_of(self._job.store.done_record(unit)) or 0.0
        except ResultsError:
            return 0.0
