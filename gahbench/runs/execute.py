"""Executing units: rows are submitted to an engine, their ends collected, and failures recorded.

What is done is read from the results folder. A row whose job ends early is submitted again; a unit is given up after
:data:`MAX_LOSSES` losses in a row without a newer checkpoint, and the other units of its row still run.
"""

from __future__ import annotations

import contextlib
import errno
import signal
import threading
import time
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gahbench._util.errors import GahbenchError
from gahbench._util.files import files_of, names_in
from gahbench._util.readable import format_duration
from gahbench._util.resources import cpu_count
from gahbench.contracts.engines import Engine, Job, Row
from gahbench.contracts.unit import Unit
from gahbench.devices.hardware import Hardware, hardware
from gahbench.registry.registry import built_in_registry
from gahbench.runs.row import run_row
from gahbench.store.store import Store

#: A unit fails once it has ended its process, or lost its machine, this many times in a row without a new checkpoint.
MAX_LOSSES = 3
#: Maximum number of references in a row: more would leave workers without a row.
MAX_REFERENCES = 6
#: The run ends with an error once this many jobs in a row have ended before they began a unit.
MAX_FAILED_STARTS = 3
#: Seconds for which rows may write their checkpoints when the run is stopped.
GRACE_SECONDS = 60.0
#: Seconds between two looks at jobs.
POLL_SECONDS = 0.1
#: Errors of a full or read-only file system, for which waiting does not help, and seconds to wait after other errors.
PERMANENT_ERRORS, RETRY_SECONDS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS), 5.0


def rows_of(units: Iterable[Unit]) -> list[list[Unit]]:
    """Group units by dataset, entrant and seed into rows, the longest first; a score joins the row of its fit.

    Some built-in references of a dataset share a row, so that its images are made once.
    """
    rows: dict[Any, list[Unit]] = {}
    ordered = sorted(units, key=lambda unit: unit.kind != "fit")
    references: dict[str, dict[str, int]] = {}
    for unit in ordered:
        if unit.seed is None and not (unit.payload.get("entrant") or {}).get("origins"):
            order = references.setdefault(unit.dataset, {})
            order.setdefault(unit.entrant, len(order))
    #: The group of each fit that is to be trained.
    homes: dict[str, Any] = {}
    for unit in ordered:
        group: Any = (unit.dataset, unit.entrant, unit.seed)
        if unit.seed is None and unit.entrant in (order := references.get(unit.dataset, {})):
            # Similar references, which suites list together, take about as long, so they are dealt out to the rows.
            group = (unit.dataset, order[unit.entrant] % -(-len(order) // MAX_REFERENCES))
        # Datasets with equal images share fits, so the fit of a score may be in the row of another dataset.
        group = next((homes[key] for key in unit.needs if key in homes), group)
        if unit.kind == "fit":
            homes[unit.key] = group
        rows.setdefault(group, []).append(unit)
    for members in rows.values():
        # Metrics that are not built in come last, since they run in the process of the other scores.
        members.sort(key=lambda unit: (unit.kind != "fit", bool((unit.payload.get("metric") or {}).get("origins"))))
    return sorted(rows.values(), key=_work, reverse=True)


def _work(units: Sequence[Unit]) -> tuple[float, float]:
    """Return the work of the fits of a row, and of its scores, which is in other units."""
    fits, scores = (sum(unit.work for unit in units if unit.kind == kind) for kind in ("fit", "score"))
    return fits, scores


def pack(rows: Sequence[list[Unit]], jobs: int) -> list[list[Unit]]:
    """Pack rows, the longest first, into a number of jobs of about equal work."""
    packed: list[list[Unit]] = [[] for _ in range(min(jobs, len(rows)))]
    for row in rows:
        min(packed, key=_work).extend(row)
    return packed


def execute(
    row: Row,
    engine: Engine,
    stop: threading.Event,
    note: Callable[[str], None] = lambda text: None,
    workers: int | None = None,
) -> None:
    """Run the units of ``row``, with its settings, by an engine until all are done or have failed, or ``stop`` is set.

    Raise ``GahbenchError`` if rows cannot start, or ``OSError`` if the file system is full or read-only.
    """
    engine.start(row, workers, stop)
    try:
        _Execution(row, engine, stop, note).run()
    finally:
        engine.close()


def run_in_processes(row: Row, stop: threading.Event | None = None, workers: int | None = None) -> None:
    """Run units of one or several rows on this machine, each row in a process of its own, as the engine ``local`` does.

    Engines that submit jobs to other machines run this function there, so that a plugin which crashes costs its own row
    one try, and not the job.

    Parameters
    ----------
    row
        The units, with the settings of their run.
    stop
        Event that another thread, or a signal handler, sets to end the rows: running fits write checkpoints.
    workers
        Number of rows that run at the same time; by default as many as the processors or GPUs of this process allow.

    Raises
    ------
    GahbenchError
        If processes cannot start on this machine.
    OSError
        If the file system is full or read-only.
    """
    engine: Engine = built_in_registry().create("engine", "local")
    execute(row, engine, stop or threading.Event(), workers=workers)


class _Execution:
    """Submission of rows, and collection of their ends."""

    def __init__(self, row: Row, engine: Engine, stop: threading.Event, note: Callable[[str], None]) -> None:
        self.row, self.engine, self.stop, self.note, self.store = row, engine, stop, note, Store(row.folder)
        #: Each row with its job, and the names of units and attempts when it was submitted.
        self.jobs: list[tuple[Row, Job, set[str]]] = []
        #: How often each unit was lost, by its name and the time of its last checkpoint.
        self.losses: Counter[tuple[str, float]] = Counter()
        self.failed_starts = 0

    def run(self) -> None:
        """Submit the rows of units that no earlier job runs, and collect their ends."""
        planned = {unit.folder for unit in self.row.units}
        for row, job in self.engine.earlier():
            if planned & {unit.folder for unit in row.units}:
                self.jobs.append((row, job, set()))
        taken, names = {unit.folder for row, *_ in self.jobs for unit in row.units}, set(names_in(self.store.units))
        rows = rows_of(unit for unit in self.row.units if unit.folder not in taken)
        if self.engine.jobs is not None:
            rows = pack(rows, max(1, self.engine.jobs - len(self.jobs)))
        for members in rows:
            if not self.stop.is_set():
                # Files of other plugins are not imported by a row, which they could change or end.
                files = files_of((name for unit in members for name in unit.origins), self.row.plugins)
                self._submit(replace(self.row, units=tuple(members), plugins=files), names)
        while self.jobs and not self.stop.is_set() and not self.engine.detach:
            try:
                for item in [item for item in self.jobs if item[1].done()]:
                    if not self.stop.is_set():
                        self._on_end(*item)
                        self.jobs.remove(item)
                self.stop.wait(POLL_SECONDS)
            except OSError as error:
                self._wait_after(error)
        if self.stop.is_set():
            self._end_jobs()

    def _submit(self, row: Row, names: set[str]) -> None:
        self.jobs.append((row, self.engine.submit(run_row, row), names))

    def _rest(self, row: Row) -> Row:
        """Return a row without the units that have ended, or cannot run since their fit failed."""
        finished, failed = self.store.ended()
        ended = finished | failed
        left = (unit for unit in row.units if unit.folder not in ended and not unit.is_blocked(failed))
        return replace(row, units=tuple(left))

    def _on_end(self, row: Row, job: Job, before: set[str]) -> None:
        """Submit the rest of a row again, without its first unit if that is lost too often."""
        rest = self._rest(row)
        if not rest.units:
            self.failed_starts = 0
            return
        error, unit, names = job.exception(), rest.units[0], set(names_in(self.store.units))
        if isinstance(error, OSError) and error.errno is not None:
            self._wait_after(error)
        elif text := _exceeded_limit(row.folder, unit):
            limit = format_duration(row.limits.unit or 0.0)
            self.store.fail(unit, f"took longer than {limit}, the limit of a unit in this suite", text)
        elif len(rest.units) == len(row.units) and not any(name.startswith(unit.folder) for name in names - before):
            self.failed_starts += 1
            if self.failed_starts >= MAX_FAILED_STARTS:
                raise GahbenchError(f"rows do not start: {_describe(error)}") from error
        else:
            self.failed_starts = 0
            self._count_loss(unit, error)
        if (rest := self._rest(row)).units:
            self._submit(rest, names)

    def _wait_after(self, error: OSError) -> None:
        """Wait, since a file server may respond again soon; raise the error if that does not help."""
        if error.errno in PERMANENT_ERRORS:
            raise error
        self.note(f"{error}; trying again")
        self.stop.wait(RETRY_SECONDS)

    def _count_loss(self, unit: Unit, error: BaseException | None) -> None:
        state = unit.folder, self.store.checkpoint_time(unit.folder)
        self.losses[state] += 1
        reason, _, details = _describe(error).partition("\n")
        if self.losses[state] < MAX_LOSSES:
            self.note(f"{unit.label}: {reason}; the unit will be tried again")
        else:
            self.store.fail(unit, f"lost {MAX_LOSSES} times in a row; the last time: {reason}", details)

    def _end_jobs(self) -> None:
        """Ask all jobs to end, and give them time to write checkpoints."""
        for _, job, _ in self.jobs:
            job.cancel()
        deadline = time.monotonic() + GRACE_SECONDS
        with contextlib.suppress(KeyboardInterrupt):
            while not all(job.done() for _, job, _ in self.jobs) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)


#: Multiply-adds of a training step below which a large GPU is mostly idle, waiting for the next step to be launched;
#: it takes about a millisecond for this number.
FILLING_WORK = 2e11
#: Bytes of GPU memory that a row of small networks needs for libraries, a dataset and the activations of a batch.
ROW_BYTES = 8 << 30
MAX_ROWS_PER_DEVICE = 4


def available_devices(name: str) -> list[Hardware]:
    """Return the devices of this machine with a name, or raise ``GahbenchError`` if there are none."""
    if devices := hardware(name).devices():
        return devices
    raise GahbenchError(f"device '{name}' was requested, but this machine has none that torch can use")


def worker_devices(row: Row, workers: int | None = None, workers_per_gpu: int | None = None) -> list[Hardware]:
    """Return the device of each row that may run at the same time on this machine, one per device in turn.

    Parameters
    ----------
    row
        The units of a run, with its settings.
    workers
        Number of rows, at least 1; by default ``workers_per_gpu`` for each GPU or, on CPU, one for every ``threads``
        processors.
    workers_per_gpu
        Number of rows that share a GPU, at least 1; by default as many as fit in memory and are useful for the size of
        the networks, at most 4.

    Raises
    ------
    GahbenchError
        If the device is not available.
    """
    devices = available_devices(row.device)
    if not devices[0].is_accelerator:
        return devices * (workers or max(1, cpu_count() // row.threads))
    processors = cpu_count() // len(devices)
    shares = [workers_per_gpu or _rows_per_device(row.units, slot.memory, processors) for slot in devices]
    rounds = range(max(shares))
    in_turn = [slot for turn in rounds for slot, share in zip(devices, shares, strict=True) if turn < share]
    return [in_turn[index % len(in_turn)] for index in range(workers or len(in_turn))]


def _rows_per_device(units: Sequence[Unit], memory: int | None, processors: int) -> int:
    """Return how many rows should share a device, given the sizes of the networks to be trained."""
    work = [
        unit.work / (unit.payload["training"].get("steps") or 1) for unit in units if unit.kind == "fit" and unit.work
    ]
    wanted = int(FILLING_WORK / max(work)) if work else 1
    by_memory = MAX_ROWS_PER_DEVICE if memory is None else memory // ROW_BYTES
    return max(1, min(wanted, MAX_ROWS_PER_DEVICE, by_memory, processors))


def _describe(error: BaseException | None) -> str:
    """Return why a job ended; further lines are details, such as the end of its output."""
    return "its job ended before the unit" if error is None else str(error) or type(error).__name__


def _exceeded_limit(folder: Path, unit: Unit) -> str:
    """Return the stacks of a process that exceeded the time limit of a unit, and delete them; empty without any."""
    text = ""
    for file in (folder / "logs").glob(f"limit-{unit.folder}-*.txt"):
        text += file.read_text(errors="replace")
        file.unlink(missing_ok=True)
    return text


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` on the first signal, so that units write checkpoints; interrupt at once on a second Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: types.FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    # Ctrl-C, termination, and the signal that schedulers send some time before they terminate a job.
    names = ("SIGINT", "SIGTERM", "SIGUSR2")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
