"""The state of a results folder while others work in it, without torch: from listings alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gahbench._util.error_text import without_library_frames
from gahbench._util.errors import ResultsError, listing, suggestion
from gahbench._util.files import names_in
from gahbench.contracts.engines import Event, Job
from gahbench.contracts.row_labels import base_label, matches
from gahbench.contracts.unit import Unit
from gahbench.runs.durations import OVERHEAD, Durations, seconds_of, values_of
from gahbench.runs.queue import Queue
from gahbench.store.attempts import PARTIAL
from gahbench.store.leases import LEASE_SECONDS, Leases, Seen
from gahbench.store.plan_file import RecordedPlan, recorded_plan
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
    plan, store = recorded_plan(folder), Store(folder)
    units = {unit.folder: unit for unit in plan.shown}
    finished, failed = store.ended()
    blocked = {
        name for name, unit in units.items() if name not in finished and name not in failed and unit.is_blocked(failed)
    }
    ended = finished | failed | blocked
    waiting = [unit for name, unit in units.items() if name not in ended]
    leases = Leases(store.leases, lease)
    claimed = leases.names() & {unit.folder for unit in waiting}
    seen = [found for name in sorted(claimed) if (found := leases.seen(name)) is not None]
    running = tuple(_running(units[one.name], one, leases.now()) for one in seen)
    active = sum(not one.is_lost for one in running)
    seconds = _seconds_left(waiting, [unit for name, unit in units.items() if name in finished], plan, store)
    return Status(
        plan.suite,
        sum(name in finished for name in units),
        len(failed & units.keys()),
        len(blocked),
        len(waiting),
        running,
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


def _running(unit: Unit, seen: Seen, now: float) -> Running:
    record = seen.record
    return Running(
        unit,
        record.host,
        record.pid,
        record.job,
        max(0.0, now - (now if record.since is None else record.since)),
        record.losses,
        seen.is_stale,
    )


def _seconds_left(waiting: list[Unit], done: list[Unit], plan: RecordedPlan, store: Store) -> float | None:
    """Return the seconds that one worker needs for some units, by those that units like them took."""
    durations, values = Durations(), values_of(plan)
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
    units, store = recorded_plan(folder).shown, Store(folder)
    for pattern in entrants:
        _require_match(pattern, units, folder)
    failed = store.failed()
    found: dict[tuple[str, str], dict[str, Unit]] = {}
    for unit in units:
        if unit.folder in failed and (not entrants or any(_is_named(unit, pattern) for pattern in entrants)):
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


def _is_named(unit: Unit, pattern: str) -> bool:
    return any(matches(label, pattern) for label in (unit.entrant, base_label(unit.entrant)))


def _require_match(pattern: str, units: Sequence[Unit], folder: Path) -> None:
    if not any(_is_named(unit, pattern) for unit in units):
        labels = list(dict.fromkeys(base_label(unit.entrant) for unit in units))
        near = suggestion(pattern, labels) or ";"
        raise ResultsError(f"{folder}: no entrant '{pattern}'{near} accepted are patterns of {listing(labels)}")


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
        for name in sorted(claimed - self._started):
            if name in self._units:
                self._started.add(name)
                self._job.report(Event("started", self._units[name]))
        for name in sorted((finished | failed) - self._ended):
            if name not in self._units:
                continue
            self._ended.add(name)
            if name not in self._started:
                # It was claimed and ended since the last listing.
                self._started.add(name)
                self._job.report(Event("started", self._units[name]))
            if name in finished:
                self._job.report(Event("finished", self._units[name], {"seconds": self._seconds(name)}))
            else:
                error = self._job.store.failure_of(name)
                self._job.report(Event("failed", self._units[name], {"error": error, "traceback": ""}))
        return self._queue.left

    def _seconds(self, name: str) -> float:
        """Return how long a unit took, as it recorded; 0 if it did not."""
        try:
            return seconds_of(self._job.store.done_at(self._job.store.units / name)) or 0.0
        except ResultsError:
            return 0.0
