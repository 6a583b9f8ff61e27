"""The state of a results folder while processes work in it, from listings alone, without torch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gahbench._util.error_text import without_library_frames
from gahbench._util.errors import ResultsError
from gahbench._util.files import names_in
from gahbench.contracts.engines import Event, Job
from gahbench.contracts.unit import Unit
from gahbench.runs.durations import OVERHEAD, Durations, image_values, seconds_of
from gahbench.runs.queue import Queue
from gahbench.runs.removal import named_rows
from gahbench.store.attempts import PARTIAL
from gahbench.store.leases import LEASE_SECONDS, Leases
from gahbench.store.plan_file import RecordedPlan, require_plan
from gahbench.store.store import DAMAGED, Store


@dataclass(frozen=True)
class Running:
    """A unit that a process has claimed."""

    unit: Unit
    host: str
    process: int | None
    job: str | None
    seconds: float
    losses: int
    is_lost: bool


@dataclass(frozen=True)
class Status:
    """The state of a results folder."""

    suite: str
    done: int
    failed: int
    blocked: int
    waiting: int
    running: tuple[Running, ...]
    failures: tuple[tuple[str, str], ...]
    remaining: float | None
    is_board_alone: bool = False
    noise: str = ""
    damaged: int = 0


def status(folder: str | Path, lease: float = LEASE_SECONDS) -> Status:
    """Return what is done in a results folder, what runs where, what failed, and the time left.

    Checksums of units are left to runs and to :func:`gahbench.runs.collect.collect`.

    Parameters
    ----------
    folder
        A results folder.
    lease
        Seconds after which a lease that is not refreshed is lost.

    Raises
    ------
    ResultsError
        If it is no results folder.
    """
    folder = Path(folder)
    plan, store = require_plan(folder), Store(folder)
    units = {unit.folder: unit for unit in plan.shown}
    finished, failed = store.ended()
    blocked = {
        name for name, unit in units.items() if name not in finished and name not in failed and unit.is_blocked(failed)
    }
    ended = finished | failed | blocked
    waiting = [unit for name, unit in units.items() if name not in ended]
    leases = Leases(store.leases, lease)
    claimed = leases.names() & {unit.folder for unit in waiting}
    seen = [found for name in sorted(claimed) if (found := leases.inspect(name)) is not None]
    now = leases.now()
    running = []
    for one in seen:
        own = one.record
        age = max(0.0, now - (own.since or now))
        running.append(Running(units[one.name], own.host, own.pid, own.job, age, own.losses, one.is_stale))
    active = sum(not one.is_lost for one in running)
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
        _noise(plan),
        sum(PARTIAL not in name for name in names_in(folder / DAMAGED)),
    )


def _noise(plan: RecordedPlan) -> str:
    if plan.secret_noise is None:
        return ""
    drawn = plan.secret_noise.get("drawn")
    if drawn is not None:
        return f"secret noise, drawn {drawn}, when all fits had ended"
    return "secret noise, to be drawn when all fits have ended: 'gahbench run' then plans the scores"


def _seconds_left(waiting: list[Unit], done: list[Unit], plan: RecordedPlan, store: Store) -> float | None:
    """Return the seconds that one worker needs for some units, estimated from similar units."""
    durations, values = Durations(), image_values(plan.board["datasets"])
    durations.add(done, store, values)
    times = [durations.of(unit, values) for unit in waiting]
    known = [seconds for seconds in times if seconds is not None]
    return None if waiting and not known else sum(known) + (len(times) - len(known)) * max(known, default=0.0)


def watch(folder: Path, seconds: float = 2.0) -> Iterable[Status]:
    """Yield the state of a results folder every few seconds, until nothing is left."""
    while True:
        found = status(folder)
        yield found
        if not found.waiting or found.is_board_alone:
            return
        time.sleep(seconds)


@dataclass(frozen=True)
class Failure:
    """Units that failed in the same way."""

    units: tuple[str, ...]
    error: str
    traceback: str
    blocked: int


def failures(folder: Path, entrants: Sequence[str] = (), full: bool = False) -> list[Failure]:
    """Return why units of a results folder failed, those with the same traceback together."""
    units, store = require_plan(folder).shown, Store(folder)
    labels = list(dict.fromkeys(unit.entrant for unit in units))
    rows = named_rows(entrants, labels, str(folder)) if entrants else labels
    failed = store.failed()
    found: dict[tuple[str, str], dict[str, Unit]] = {}
    for unit in units:
        if unit.folder in failed and unit.entrant in rows:
            details = store.failure_record(unit.folder).get("traceback")
            text = details.strip("\n") if isinstance(details, str) else ""
            reason = store.failure_of(unit.folder), text if full else without_library_frames(text)
            found.setdefault(reason, {})[unit.folder] = unit
    return [
        Failure(
            tuple(unit.label for unit in own.values()),
            error,
            text,
            sum(unit.folder not in failed and unit.is_blocked(own.keys()) for unit in units),
        )
        for (error, text), own in found.items()
    ]


class Watch:
    """Follows the units of a job that processes anywhere do, by the store alone.

    Parameters
    ----------
    job
        The job.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._queue = Queue(job.units, job.store)
        self._units = {unit.folder: unit for unit in job.units}
        self._started: set[str] = set()
        self._ended: set[str] = set()

    def update(self) -> int:
        """List the store, report what has changed since, and return how many units are left to do."""
        try:
            finished, failed = self._queue.refresh()
            claimed = self._queue.leases.names()
        except OSError:
            return self._queue.left  # The file server may be back in a moment.
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
        """Return how long a unit took, as it recorded; 0 if it did not."""
        try:
            return seconds_of(self._job.store.done_record(unit)) or 0.0
        except ResultsError:
            return 0.0
