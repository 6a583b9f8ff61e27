"""Supervision of worker processes on this machine.

A plugin can change everything that is computed in its process. So a worker process runs only units of one isolation
key: of one combination of external entrant, dataset and metric, or of built-in plugins. If a worker exits, exceeds
a limit of the suite, falls silent or loses its device, only its current unit is affected, and a new worker runs the
next unit.
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
from gahbench._util.readable import format_duration
from gahbench._util.resources import cpu_count
from gahbench.contracts.engines import Event, Job
from gahbench.contracts.unit import Unit
from gahbench.devices.hardware import Hardware, hardware
from gahbench.runs.child import SILENT_SECONDS, AwakeClock, WorkerChild, wait_for_any
from gahbench.runs.protocol import ENDS, NOT_STORED, CodeChangedError
from gahbench.runs.queue import Queue

#: Seconds for which running units may write their checkpoints when the run is stopped.
GRACE_SECONDS = 20.0
#: A device slot is given up after this many workers in a row have exited before they were ready.
START_ATTEMPTS = 2
#: Seconds for which the supervisor waits for messages, or for units that other processes run.
WAIT_SECONDS = 0.2
#: Errors of a full or read-only file system, for which waiting does not help.
PERMANENT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
#: Seconds until the store is tried again after an error.
RETRY_SECONDS = 5.0
#: Multiply-adds of a training step below which a large GPU is mostly idle, waiting for the next step to be launched;
#: it takes about a millisecond for this number.
FILLING_WORK = 2e11
#: Bytes of GPU memory that a worker of small networks needs for libraries, a dataset and the activations of a batch.
WORKER_BYTES = 8 << 30
MAX_WORKERS_PER_DEVICE = 4


def supervise(job: Job, workers: int | None = None, workers_per_gpu: int | None = None) -> None:
    """Run the units of a job in worker processes, until all are done or failed, or the job is stopped.

    Parameters
    ----------
    job
        The job. Processes on other machines may run its units at the same time.
    workers
        Number of workers, at least 1; by default ``workers_per_gpu`` for each GPU or, on CPU, one for every
        ``job.threads`` processors.
    workers_per_gpu
        Number of workers that share a GPU, at least 1; by default as many as fit in memory and are useful for the size
        of the networks, at most 4.

    Raises
    ------
    GahbenchError
        If the device is not available, or no worker can be started.

    Examples
    --------
    >>> import gahbench
    >>> class TwoProcesses(gahbench.Engine):
    ...     def run(self, job):
    ...         gahbench.supervise(job, workers=2)
    """
    _Supervisor(job, worker_devices(job, workers, workers_per_gpu)).run()


def worker_devices(job: Job, workers: int | None = None, workers_per_gpu: int | None = None) -> list[Hardware]:
    """Return the device of each worker of a job, one per device in turn; arguments are those of :func:`supervise`."""
    devices = hardware(job.device).devices()
    if not devices:
        raise GahbenchError(f"device '{job.device}' was requested, but this machine has none that torch can use")
    if not devices[0].is_accelerator:
        return devices * (workers or max(1, cpu_count() // job.threads))
    processors = cpu_count() // len(devices)
    shares = [workers_per_gpu or workers_per_device(job.units, device.memory, processors) for device in devices]
    rounds = range(max(shares))
    in_turn = [device for turn in rounds for device, share in zip(devices, shares, strict=True) if turn < share]
    return [in_turn[slot % len(in_turn)] for slot in range(workers or len(in_turn))]


def workers_per_device(units: Iterable[Unit], memory: int | None, processors: int) -> int:
    """Return how many workers should share a device, given the sizes of the networks to be trained."""
    steps = [work for unit in units if unit.kind == "fit" and (work := _work_per_step(unit)) is not None]
    wanted = int(FILLING_WORK / max(steps)) if steps else 1
    by_memory = MAX_WORKERS_PER_DEVICE if memory is None else memory // WORKER_BYTES
    return max(1, min(wanted, MAX_WORKERS_PER_DEVICE, by_memory, processors))


def _work_per_step(unit: Unit) -> float | None:
    """Return the multiply-adds of a training step; ``None`` if they are unknown."""
    steps = unit.payload["training"].get("steps")
    return unit.work / steps if isinstance(steps, int) and steps and 0 < unit.work < float("inf") else None


class _Supervisor:
    """Runs the units of one job in worker processes; each worker occupies a slot on a device."""

    def __init__(self, job: Job, devices: Sequence[Hardware]) -> None:
        self.job = job
        self.queue = Queue(job.units, job.store)
        self.files = PluginFiles(job.files)
        self.clock = AwakeClock()
        #: The device of each slot; a slot on which workers cannot start is removed.
        self.devices = dict(enumerate(devices))
        #: Worker processes by slot, each started with the first unit of the slot.
        self.children: dict[int, WorkerChild] = {}
        #: Messages that are not handled yet; after an error of the store, a message is handled again.
        self.pending: deque[tuple[WorkerChild, dict[str, Any]]] = deque()
        #: How many workers in a row have exited before they were ready, by slot.
        self.failed_starts: Counter[int] = Counter()
        self.waits_until = 0.0
        self.trouble = ""

    def run(self) -> None:
        """Run all units, then end all workers."""
        try:
            self.queue.refresh()
            while self.queue.left and not self.job.stop.is_set():
                try:
                    self._turn()
                    self.trouble = ""
                except KeyboardInterrupt:
                    self.job.stop.set()
                except OSError as error:
                    if error.errno in PERMANENT_ERRORS:
                        raise
                    # The file server may respond again soon.
                    self._note_trouble(f"{error}; trying again")
                    self.job.stop.wait(RETRY_SECONDS)
            if self.job.stop.is_set():
                self._stop()
        finally:
            for child in self.children.values():
                child.kill()
            self.queue.close()

    def _note_trouble(self, text: str) -> None:
        """Report an error of the store, unless it repeats the last error."""
        if text != self.trouble:
            self.trouble = text
            self.job.report(Event("note", None, {"text": text}))

    def _turn(self) -> None:
        """Handle messages, end workers that hang, and assign units to idle slots."""
        exited, now = self._listen(), self.clock.tick()
        for child in list(self.children.values()):
            if child in exited:
                self._on_worker_exit(child)
            elif child.unit is not None and not self.queue.is_own(child.unit):
                self._abandon(child, child.unit)
            elif (reason := child.exceeded_limit(now)) is not None:
                self._stop_worker(child, reason, is_lost=False)
            elif child.is_silent(now):
                self._stop_worker(child, f"no heartbeat of the worker process for {format_duration(SILENT_SECONDS)}")
        for slot in self.devices:
            idle = self.children.get(slot)
            if (idle is None or idle.unit is None) and time.monotonic() >= self.waits_until:
                if (unit := self.queue.take(None if idle is None else idle.last)) is not None:
                    self._assign(slot, unit)
                else:
                    # The remaining units are being run by other processes, or wait for units that are being run.
                    self.waits_until = time.monotonic() + WAIT_SECONDS

    def _listen(self) -> list[WorkerChild]:
        """Wait briefly for messages of workers, and handle them; return the workers that have exited."""
        self._handle_pending()
        wait_for_any(self.children.values(), WAIT_SECONDS)
        # Poll before receiving, so that all messages sent before the exit are received.
        exited = [child for child in self.children.values() if child.process.poll() is not None]
        self.pending.extend((child, message) for child in self.children.values() for message in child.receive())
        self._handle_pending()
        return exited

    def _handle_pending(self) -> None:
        while self.pending:
            child, message = self.pending[0]
            if self.children.get(child.slot) is child:
                self._handle(child, message)
            # Remove the message only now, so that it is handled again if the store raises an error.
            self.pending.popleft()

    def _handle(self, child: WorkerChild, message: dict[str, Any]) -> None:
        child.observe(message, self.clock.now)
        event, unit = message["event"], child.unit
        if event == "ready":
            del self.failed_starts[child.slot]
        elif unit is None or not child.is_ready:
            return
        elif event in ("progress", "note"):
            self.job.report(Event(event, unit, {name: value for name, value in message.items() if name != "event"}))
        elif event in ENDS and message["unit"] == unit.folder:
            self._on_unit_end(child, unit, message)
            # Clear the unit only after the store has recorded its end, so that the message can be handled again.
            child.clear_unit()
            if event == "lost":
                self._discard(child)

    def _on_unit_end(self, child: WorkerChild, unit: Unit, message: dict[str, Any]) -> None:
        """Record how a unit has ended; whether it has finished is checked in the store."""
        event = message["event"]
        if event == "finished" and not self._is_done(unit):
            self._fail(unit, NOT_STORED, child.output())
        elif event == "finished":
            self._finish(unit)
            seconds = message["seconds"]
            # A plugin may have replaced the clock, so the seconds may be invalid.
            self.job.report(Event("finished", unit, {"seconds": seconds if 0 <= seconds < 1e9 else 0.0}))
        elif event == "stopped":
            self._release(unit)
        elif event == "unstored":
            if message["number"] in PERMANENT_ERRORS:
                child.clear_unit()
                raise OSError(message["number"], message["error"])
            self._requeue(unit, message["error"], "")
            self.waits_until = time.monotonic() + RETRY_SECONDS
        elif event == "lost":
            self._requeue(unit, message["error"], message["traceback"])
        elif message["code_changed"] and not self.job.planned_here:
            # Leave the unit to other machines, which may have the right code.
            child.clear_unit()
            raise CodeChangedError(message["error"].partition(": ")[2])
        else:
            self._fail(unit, message["error"], message["traceback"])

    def _is_done(self, unit: Unit) -> bool:
        try:
            return self.job.store.is_done(unit)
        except ResultsError as error:
            # The file server may respond again soon.
            raise OSError(str(error)) from error

    def _assign(self, slot: int, unit: Unit) -> None:
        """Assign a unit to the worker of a slot, or to a new worker if the isolation keys differ."""
        child = self.children.get(slot)
        if child is not None and child.key != unit.isolation_key:
            self._discard(child)
            child = None
        if child is None:
            try:
                variables = self.devices[slot].environment
                child = WorkerChild(slot, self.job, variables, unit.isolation_key, self.clock.now)
            except OSError as error:
                raise GahbenchError(f"worker processes cannot start in {self.job.store.folder}: {error}") from error
            self.children[slot] = child
        child.assign(unit, self.files.find(unit.origins), packages_of(unit.origins), self.clock.now)
        self.job.report(Event("started", unit))

    def _finish(self, unit: Unit) -> None:
        self.queue.finish(unit)
        # Units that need this unit may be ready now.
        self.waits_until = 0.0

    def _release(self, unit: Unit) -> None:
        """Release a unit, to be done later or by another process."""
        self.queue.release(unit)
        self.job.report(Event("stopped", unit))

    def _fail(self, unit: Unit, error: str, details: str) -> None:
        if self.queue.is_own(unit):
            self.job.store.fail(unit, error, details)
        self._finish(unit)
        self.job.report(Event("failed", unit, {"error": error, "traceback": details}))

    def _requeue(self, unit: Unit, error: str, details: str) -> None:
        """Queue a unit whose worker was lost again; after too many losses, record that the unit failed."""
        if self.queue.lose(unit, error, details):
            text = self.job.store.failure_of(unit.folder)
            self.job.report(Event("failed", unit, {"error": text, "traceback": details}))
        else:
            self.job.report(Event("note", unit, {"text": f"{error}; the unit will be tried again"}))
            self.job.report(Event("stopped", unit))

    def _abandon(self, child: WorkerChild, unit: Unit) -> None:
        """Give up a unit whose lease another process has taken over, since this machine was silent for too long."""
        child.kill()
        self.job.report(Event("note", unit, {"text": "taken over by another process"}))
        self._release(unit)
        self._discard(child)

    def _on_worker_exit(self, child: WorkerChild) -> None:
        self._stop_worker(child, f"the worker process {child.describe_exit()}")

    def _stop_worker(self, child: WorkerChild, reason: str, is_lost: bool = True) -> None:
        """End a worker, and requeue its unit if ``is_lost``; otherwise, record that the unit failed."""
        unit = child.unit
        child.kill()
        output = child.output()
        if unit is not None and not child.is_ready:
            self._release(unit)
            self._discard(child)
            self._on_failed_start(child.slot, reason, output)
            return
        if unit is not None and is_lost:
            self._requeue(unit, reason, output)
        elif unit is not None:
            self._fail(unit, reason, output)
        self._discard(child)

    def _on_failed_start(self, slot: int, reason: str, output: str) -> None:
        """Count a worker that exited before it was ready; after :data:`START_ATTEMPTS` in a row, remove its slot."""
        self.failed_starts[slot] += 1
        if self.failed_starts[slot] < START_ATTEMPTS:
            return
        device = self.devices[slot]
        if not device.is_accelerator:
            raise GahbenchError(f"worker processes cannot start: {reason}\n{output}")
        del self.devices[slot]
        text = f"worker processes cannot start on device {device}: {reason}"
        if not self.devices:
            raise GahbenchError(
                f"{text}; no device is left. Run again once the device works (after a restart of the machine, or when "
                f"other processes have freed its memory), or with --device cpu\n{output}"
            )
        self.job.report(Event("note", None, {"text": f"{text}; the run continues with one worker fewer"}))

    def _discard(self, child: WorkerChild) -> None:
        child.kill()
        del self.children[child.slot]

    def _stop(self) -> None:
        """Ask workers to stop, and give running units :data:`GRACE_SECONDS` to write their checkpoints."""
        for child in self.children.values():
            child.send({"stop": True})
        deadline = time.monotonic() + GRACE_SECONDS
        while any(child.unit for child in self.children.values()) and time.monotonic() < deadline:
            try:
                for child in self._listen():
                    child.clear_unit()
            except OSError as error:
                # A unit whose end cannot be stored now is resumed from its checkpoint in the next run.
                self._note_trouble(str(error))


#: Ctrl-C, termination, and the signal that schedulers send some time before they terminate a job.
_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR2")


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

    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
