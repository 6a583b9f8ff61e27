"""Workers on this machine: a process for each outside plugin, a timeout, a heartbeat, and an exit status.

A plugin can change everything that is computed in its process. So a worker process does units of one isolation key
only: of one outside entrant, dataset and metric, or of built-in plugins alone. A worker that exits, exceeds a limit of
the suite, falls silent or loses its device costs the unit that it did, and a new worker does the next one.
"""

from __future__ import annotations

import contextlib
import errno
import signal
import threading
import time
import types
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gahbench._util.errors import GahbenchError, ResultsError
from gahbench._util.origins import PluginFiles, packages_of
from gahbench._util.readable import duration
from gahbench._util.resources import cpu_count
from gahbench.contracts.engines import Event, Job
from gahbench.contracts.unit import Unit
from gahbench.devices.hardware import Hardware, hardware
from gahbench.runs.child import SILENT_SECONDS, AwakeClock, WorkerChild, wait_for_any
from gahbench.runs.protocol import ENDS, NOT_HELD, CodeChangedError
from gahbench.runs.queue import Queue

#: How long a unit in flight may take to write its checkpoint when the run is stopped.
GRACE_SECONDS = 20.0
#: A worker that exits before it is ready once more would only exit again.
START_ATTEMPTS = 2
#: Seconds for which the supervisor waits for messages, and for units that other processes do.
WAIT_SECONDS = 0.2
#: Errors of a file system that will not pass by waiting: it is full, or cannot be written.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
#: Seconds until a store that could not be read is read again.
RETRY_SECONDS = 5.0
#: Multiply-adds of a training step below which a large GPU mostly waits for the next one to be started: about a
#: millisecond's worth.
FILLING_WORK = 2e11
#: Memory that a worker of small networks needs: libraries, a data set, activations of a batch.
WORKER_BYTES = 8 << 30
MAX_WORKERS_PER_DEVICE = 4


def supervise(job: Job, workers: int | None = None, workers_per_gpu: int | None = None) -> None:
    """Do the units of a job in worker processes until all are done or failed, here or elsewhere, or the job is stopped.

    Parameters
    ----------
    job
        The job; others may be doing its units too.
    workers
        Number of workers; ``None`` for ``workers_per_gpu`` to a GPU or, on CPU, one to each share of ``job.threads``
        processors.
    workers_per_gpu
        How many workers share a GPU; ``None`` for as many as fit in memory, unless one network fills the GPU.

    Raises
    ------
    GahbenchError
        If workers cannot be started at all.
    """
    _Supervisor(job, worker_places(job, workers, workers_per_gpu)).run()


def worker_places(job: Job, workers: int | None = None, workers_per_gpu: int | None = None) -> list[Hardware]:
    """Return the device of each worker of a job, first one each; arguments as of :func:`supervise`."""
    devices = hardware(job.device).devices()
    if not devices:
        raise GahbenchError(f"device '{job.device}' was requested, and this machine has none that torch can use")
    if not devices[0].is_accelerator:
        return devices * (workers or max(1, cpu_count() // job.threads))
    processors = cpu_count() // len(devices)
    shares = [workers_per_gpu or workers_per_device(job.units, device.memory, processors) for device in devices]
    rounds = range(max(shares))
    places = [device for turn in rounds for device, share in zip(devices, shares, strict=True) if turn < share]
    return [places[place % len(places)] for place in range(workers or len(places))]


def workers_per_device(units: Iterable[Unit], memory: int | None, processors: int) -> int:
    """Return how many workers should share a device, by the networks that are to be trained."""
    steps = [work for unit in units if unit.kind == "fit" and (work := _step_work(unit)) is not None]
    wanted = int(FILLING_WORK / max(steps)) if steps else 1
    room = MAX_WORKERS_PER_DEVICE if memory is None else memory // WORKER_BYTES
    return max(1, min(wanted, MAX_WORKERS_PER_DEVICE, room, processors))


def _step_work(unit: Unit) -> float | None:
    """Return the multiply-adds of a training step; ``None`` where they are not known."""
    steps = unit.payload["training"].get("steps")
    return unit.work / steps if isinstance(steps, int) and steps and 0 < unit.work < float("inf") else None


class _Supervisor:
    """One run of a job."""

    def __init__(self, job: Job, places: Sequence[Hardware]) -> None:
        self.job = job
        self.queue = Queue(job.units, job.store)
        self.files = PluginFiles(job.files)
        self.clock = AwakeClock()
        #: The device of each place; a place at which worker processes cannot start is removed.
        self.places = dict(enumerate(places))
        #: Worker processes by place, started with the first unit of the place.
        self.children: dict[int, WorkerChild] = {}
        #: Messages that are not handled yet; a message is handled again if the store failed.
        self.pending: deque[tuple[WorkerChild, dict[str, Any]]] = deque()
        #: By place, how many workers in a row have exited before they were ready.
        self.failed_starts: Counter[int] = Counter()
        self.waits_until = 0.0
        self.trouble = ""

    def run(self) -> None:
        """Do all units; no worker is left at the end."""
        try:
            self.queue.refresh()
            while self.queue.left and not self.job.stop.is_set():
                try:
                    self._turn()
                    self.trouble = ""
                except KeyboardInterrupt:
                    self.job.stop.set()
                except OSError as error:
                    if error.errno in FULL:
                        raise
                    # The file server may be back in a moment.
                    self._note_trouble(f"{error}; trying again")
                    self.job.stop.wait(RETRY_SECONDS)
            if self.job.stop.is_set():
                self._stop()
        finally:
            for child in self.children.values():
                child.kill()
            self.queue.close()

    def _note_trouble(self, text: str) -> None:
        """Report a fault of the store, once."""
        if text != self.trouble:
            self.trouble = text
            self.job.report(Event("note", None, {"text": text}))

    def _turn(self) -> None:
        """Handle messages, end workers that hang, and give units to idle ones."""
        exited, now = self._listen(), self.clock.tick()
        for child in list(self.children.values()):
            if child in exited:
                self._on_worker_exit(child)
            elif child.unit is not None and not self.queue.is_own(child.unit):
                self._abandon(child, child.unit)
            elif (why := child.exceeded_limit(now)) is not None:
                self._stop_worker(child, why, is_lost=False)
            elif child.is_silent(now):
                self._stop_worker(child, f"nothing was heard of the worker process for {duration(SILENT_SECONDS)}")
        for place in self.places:
            idle = self.children.get(place)
            if (idle is None or idle.unit is None) and time.monotonic() >= self.waits_until:
                if (unit := self.queue.take(None if idle is None else idle.last)) is not None:
                    self._give(place, unit)
                else:
                    # Other processes do the units that are left, or these wait for them.
                    self.waits_until = time.monotonic() + WAIT_SECONDS

    def _listen(self) -> list[WorkerChild]:
        """Handle the messages of workers, after a moment if there are none; return the workers that have exited."""
        self._handle_pending()
        wait_for_any(self.children.values(), WAIT_SECONDS)
        # Asked first: all that a process has sent before its end can then be received.
        exited = [child for child in self.children.values() if child.process.poll() is not None]
        self.pending.extend((child, message) for child in self.children.values() for message in child.receive())
        self._handle_pending()
        return exited

    def _handle_pending(self) -> None:
        while self.pending:
            child, message = self.pending[0]
            if self.children.get(child.place) is child:
                self._handle(child, message)
            # Not before: if the store fails, the message is handled again.
            self.pending.popleft()

    def _handle(self, child: WorkerChild, message: dict[str, Any]) -> None:
        child.observe(message, self.clock.now)
        event, unit = message["event"], child.unit
        if event == "ready":
            del self.failed_starts[child.place]
        elif unit is None or not child.is_ready:
            return
        elif event in ("progress", "note"):
            self.job.report(Event(event, unit, {name: value for name, value in message.items() if name != "event"}))
        elif event in ENDS and message["unit"] == unit.folder:
            self._on_unit_end(child, unit, message)
            # Not before the store has it: until then the end is handled again.
            child.take_back()
            if event == "lost":
                self._discard(child)

    def _on_unit_end(self, child: WorkerChild, unit: Unit, message: dict[str, Any]) -> None:
        """Record how a unit has ended; whether it has finished is read from the store."""
        event = message["event"]
        if event == "finished" and not self._is_done(unit):
            self._fail(unit, NOT_HELD, child.output())
        elif event == "finished":
            self._finish(unit)
            seconds = message["seconds"]
            # A plugin may have replaced the clock.
            self.job.report(Event("finished", unit, {"seconds": seconds if 0 <= seconds < 1e9 else 0.0}))
        elif event == "stopped":
            self._release(unit)
        elif event == "unstored":
            if message["number"] in FULL:
                child.take_back()
                raise OSError(message["number"], message["error"])
            self._requeue(unit, message["error"], "")
            self.waits_until = time.monotonic() + RETRY_SECONDS
        elif event == "lost":
            self._requeue(unit, message["error"], message["traceback"])
        elif message["code_changed"] and not self.job.planned_here:
            # Other machines may have the right code.
            child.take_back()
            raise CodeChangedError(message["error"].partition(": ")[2])
        else:
            self._fail(unit, message["error"], message["traceback"])

    def _is_done(self, unit: Unit) -> bool:
        try:
            return self.job.store.is_done(unit)
        except ResultsError as error:
            # The file server may be back in a moment.
            raise OSError(str(error)) from error

    def _give(self, place: int, unit: Unit) -> None:
        """Give a unit to the worker of a place, or to a new worker if that worker has another isolation key."""
        child = self.children.get(place)
        if child is not None and child.key != unit.isolation_key:
            self._discard(child)
            child = None
        if child is None:
            try:
                variables = self.places[place].environment
                child = WorkerChild(place, self.job, variables, unit.isolation_key, self.clock.now)
            except OSError as error:
                raise GahbenchError(f"worker processes cannot start in {self.job.store.folder}: {error}") from error
            self.children[place] = child
        child.give(unit, self.files.of(unit.origins), packages_of(unit.origins), self.clock.now)
        self.job.report(Event("started", unit))

    def _finish(self, unit: Unit) -> None:
        self.queue.finish(unit)
        # Other units may have waited for it.
        self.waits_until = 0.0

    def _release(self, unit: Unit) -> None:
        """Leave a unit to be done later, or by another process."""
        self.queue.release(unit)
        self.job.report(Event("stopped", unit))

    def _fail(self, unit: Unit, error: str, details: str) -> None:
        if self.queue.is_own(unit):
            self.job.store.fail(unit, error, details)
        self._finish(unit)
        self.job.report(Event("failed", unit, {"error": error, "traceback": details}))

    def _requeue(self, unit: Unit, error: str, details: str) -> None:
        """Have a unit done again whose worker was lost; after too many losses it has failed."""
        if self.queue.lose(unit, error, details):
            text = self.job.store.failure_of(unit.folder)
            self.job.report(Event("failed", unit, {"error": text, "traceback": details}))
        else:
            self.job.report(Event("note", unit, {"text": f"{error}; it is done again"}))
            self.job.report(Event("stopped", unit))

    def _abandon(self, child: WorkerChild, unit: Unit) -> None:
        """Give up a unit that another process has taken over, since this machine was out of touch for too long."""
        child.kill()
        self.job.report(Event("note", unit, {"text": "taken over by another process"}))
        self._release(unit)
        self._discard(child)

    def _on_worker_exit(self, child: WorkerChild) -> None:
        self._stop_worker(child, f"the worker process {child.ending()}")

    def _stop_worker(self, child: WorkerChild, why: str, is_lost: bool = True) -> None:
        """End a worker, if it has not exited; its unit is lost, or has failed."""
        unit = child.unit
        child.kill()
        output = child.output()
        if unit is not None and not child.is_ready:
            self._release(unit)
            self._discard(child)
            self._on_failed_start(child.place, why, output)
            return
        if unit is not None and is_lost:
            self._requeue(unit, why, output)
        elif unit is not None:
            self._fail(unit, why, output)
        self._discard(child)

    def _on_failed_start(self, place: int, why: str, output: str) -> None:
        """Remove a place at which workers exit before they are ready; losses of ready workers count for their units."""
        self.failed_starts[place] += 1
        if self.failed_starts[place] < START_ATTEMPTS:
            return
        device = self.places[place]
        if not device.is_accelerator:
            raise GahbenchError(f"worker processes cannot start: {why}\n{output}")
        del self.places[place]
        text = f"worker processes cannot start on device {device}: {why}"
        if not self.places:
            raise GahbenchError(
                f"{text}; no device is left. Run again once the device works (after a restart of the machine, or when "
                f"other processes have freed its memory), or with --device cpu\n{output}"
            )
        self.job.report(Event("note", None, {"text": f"{text}; the run goes on with one worker less"}))

    def _discard(self, child: WorkerChild) -> None:
        child.kill()
        del self.children[child.place]

    def _stop(self) -> None:
        """Let units in flight write their checkpoints, for a while."""
        for child in self.children.values():
            child.send({"stop": True})
        deadline = time.monotonic() + GRACE_SECONDS
        while any(child.unit for child in self.children.values()) and time.monotonic() < deadline:
            try:
                for child in self._listen():
                    child.take_back()
            except OSError as error:
                # What the store does not take now is done again, from its checkpoint.
                self._note_trouble(str(error))


#: Ctrl-C, the end of a job by whoever started it, and the notice that schedulers give before it.
_NAMES = ("SIGINT", "SIGTERM", "SIGUSR2")


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Let the first signal ask units to stop, which write checkpoints, and a second Ctrl-C interrupt at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: types.FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
