"""Worker processes on this machine: each does one unit at a time, and may die without harm to the others."""

from __future__ import annotations

import errno
import queue
import time
from collections import deque
from typing import Any

from gahbench._util.errors import GahbenchError, ResultsError, listing
from gahbench._util.resources import cpu_count, gpu_memory, gpu_names
from gahbench.contracts.jobs import Event, Job
from gahbench.contracts.unit import Unit
from gahbench.runs import gpu_share
from gahbench.runs.child import Child
from gahbench.runs.factory import CodeChangedError
from gahbench.runs.isolation import Isolation, isolation_key
from gahbench.runs.protocol import ENDS, NOT_HELD, seconds_of
from gahbench.runs.queue import Queue
from gahbench.runs.watchdog import AwakeClock, Verdict

#: How long a unit in flight may take to write its checkpoint when the run is stopped.
GRACE_SECONDS = 20.0
#: A worker that dies before it was ever ready would only die again.
START_ATTEMPTS = 2
#: Seconds between two looks at a store in which others do what is left.
WAIT_SECONDS = 1.0
#: Errors of a file system that will not pass by waiting: it is full, or cannot be written.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
#: Seconds until a store that could not be read is read again.
TROUBLE_SECONDS = 5.0


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
        How many workers share a GPU; ``None`` for as many as its memory has room for and the networks cannot fill it
        without.

    Raises
    ------
    GahbenchError
        If workers cannot be started at all.
    """
    gpus = gpu_names() if job.device != "cpu" else []
    if job.device.startswith("cuda") and not gpus:
        raise GahbenchError(f"device '{job.device}' was requested, and this machine has no GPU that torch can use")
    if gpus and workers_per_gpu is None:
        workers_per_gpu = gpu_share.workers_per_gpu(job.units, gpu_memory(), cpu_count() // len(gpus))
    places: list[str | None] = [gpu for gpu in gpus for _ in range(workers_per_gpu or 1)]
    count = workers or len(places) or max(1, cpu_count() // job.threads)
    _Supervisor(job, [places[place % len(places)] if places else None for place in range(count)]).run()


class _Supervisor:
    """One run of a job."""

    def __init__(self, job: Job, gpus: list[str | None]) -> None:
        self.job = job
        self.queue = Queue(job.units, job.store)
        self.isolation = Isolation(job.files)
        self.clock = AwakeClock()
        # Not more workers than units.
        self.gpus = gpus[: max(1, len(job.units))]
        self.inbox: queue.Queue[Any] = queue.Queue()
        #: Messages that are being handled: one that the store failed at is handled again.
        self.pending: deque[tuple[Child, dict[str, Any] | None]] = deque()
        self.children: list[Child] = []
        self.failed_starts = 0
        self.waited_until = 0.0
        self.trouble = ""

    def run(self) -> None:
        """Do all units; on the way out no worker is left."""
        try:
            self.queue.refresh()
            if not self.queue.left:
                return
            for place in range(len(self.gpus)):
                self.children.append(self._start(place))
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
                    self._note(f"{error}; trying again")
                    self.job.stop.wait(TROUBLE_SECONDS)
            if self.job.stop.is_set():
                self._stop()
        finally:
            for child in self.children:
                child.kill()
            self.queue.close()

    def _start(self, place: int) -> Child:
        try:
            return Child(place, self.job, self.gpus[place], self.inbox, self.clock.now)
        except OSError as error:
            raise GahbenchError(f"worker processes cannot start in {self.job.store.folder}: {error}") from error

    def _note(self, text: str) -> None:
        """Say what is wrong, once."""
        if text != self.trouble:
            self.trouble = text
            self.job.report(Event("note", None, {"text": text}))

    def _turn(self) -> None:
        """Give work to idle workers, end those that hang, then wait a moment for news."""
        self._handle_pending()
        now = self.clock.tick()
        for child in list(self.children):
            child.flush()
            if child.unit is not None and not self.queue.is_own(child.unit):
                self._drop(child)
            elif (verdict := child.watchdog.verdict(now)) is not None:
                self._end(child, verdict)
            elif child.is_ready and child.unit is None and time.monotonic() >= self.waited_until:
                unit = self.queue.take(child.last)
                if unit is None:
                    # Others are doing what is left, or what is left waits for it.
                    self.waited_until = time.monotonic() + WAIT_SECONDS / 4
                else:
                    self._give(child, unit)
        try:
            self.pending.append(self.inbox.get(timeout=0.2))
        except queue.Empty:
            if not any(child.unit for child in self.children):
                time.sleep(WAIT_SECONDS / 4)
            return
        self._handle_pending()

    def _handle_pending(self) -> None:
        """Handle messages; one at which the store fails stays, and its unit with its worker, until it is back."""
        while self.pending:
            child, message = self.pending[0]
            self._handle(child, None if message is None else dict(message))
            self.pending.popleft()

    def _give(self, child: Child, unit: Unit) -> None:
        """Give a unit to a worker, or to a new one in its place if it may not do it."""
        key = isolation_key(unit)
        if child.key not in (None, key):
            child = self._replace(child)
        child.give(unit, key, self.isolation.code(unit), self.clock.now)
        self.job.report(Event("started", unit))

    def _handle(self, child: Child, message: dict[str, Any] | None) -> None:
        if child not in self.children:
            return  # It was given up.
        if message is None:
            self._bury(child)
            return
        event, unit = message.pop("event", None), child.unit
        if event is None:
            self.job.report(
                Event("note", unit, {"text": "something else was written to the pipe of its worker process"})
            )
            return
        child.watchdog.heard = self.clock.now
        if event == "ready":
            child.is_ready = True
            self.failed_starts = 0
            child.watchdog.began = None if unit is None else self.clock.now
        elif unit is None or not child.is_ready:
            return
        elif event == "alive":
            if message["ended"] == unit.folder:
                # It said so before, and something else in the pipe has spoilt the message.
                self._ended(child, unit, "finished", {"seconds": 0.0, "moved": []})
        elif event == "constructing":
            what = message["what"]
            child.watchdog.constructing = None if what is None else (what, self.clock.now)
        elif event in ENDS:
            if message.pop("unit") == unit.folder:
                self._ended(child, unit, event, message)
        else:
            self.job.report(Event(event, unit, message))

    def _ended(self, child: Child, unit: Unit, event: str, message: dict[str, Any]) -> None:
        """Record the end of a unit as far as it is true: the store says what has finished."""
        if event == "finished" and not self._is_done(unit):
            event, message = "failed", {**message, "error": NOT_HELD, "traceback": child.written()}
        elif event == "stopped" and not self.job.stop.is_set():
            error = "its worker said that it had stopped, and was not asked to"
            event, message = "failed", {**message, "error": error, "traceback": child.written()}
        if message.pop("code_changed", False) and not self.job.planned_here:
            # Others may have the right code.
            child.take_back()
            raise CodeChangedError(message["error"].partition(": ")[2])
        if event == "failed":
            self._fail(unit, message["error"], message["traceback"])
        elif event == "stopped":
            self.queue.release(unit)
            self.job.report(Event("stopped", unit))
        else:
            self._finished(unit)
            self.job.report(Event("finished", unit, {"seconds": seconds_of(message["seconds"])}))
        # Not before the store has it: until then the end is handled again.
        child.take_back()
        if moved := message.pop("moved"):
            text = f"it left its process otherwise than it found it ({listing(map(str, moved))}), which is replaced"
            self.job.report(Event("note", unit, {"text": text}))
            self._replace(child)

    def _is_done(self, unit: Unit) -> bool:
        try:
            return self.job.store.is_done(unit)
        except ResultsError as error:
            # The file server may be back in a moment; the worker then says again that it does nothing.
            raise OSError(str(error)) from error

    def _finished(self, unit: Unit) -> None:
        self.queue.finish(unit)
        self.waited_until = 0.0

    def _fail(self, unit: Unit, error: str, details: str) -> None:
        if self.queue.is_own(unit):
            self.job.store.fail(unit, error, details)
        self._finished(unit)
        self.job.report(Event("failed", unit, {"error": error, "traceback": details}))

    def _bury(self, child: Child) -> None:
        """Record that what a dead worker was doing is lost, and replace the worker."""
        self._end(child, Verdict("lost", child.death()))

    def _end(self, child: Child, verdict: Verdict) -> None:
        """End a worker that hangs or is dead, record why its unit has failed or is lost, and replace the worker."""
        unit = child.unit
        child.kill()
        written = child.written()
        if not child.is_ready:
            if unit is not None:
                # It was not to blame.
                self.queue.release(unit)
                self.job.report(Event("stopped", unit))
            self.failed_starts += 1
            if self.failed_starts >= START_ATTEMPTS:
                raise GahbenchError(f"worker processes cannot start: {verdict.why}\n{written}")
        elif unit is not None and verdict.how == "failed":
            self._fail(unit, verdict.why, written)
        elif unit is not None:
            self._lost(unit, verdict.why, written)
        self._replace(child)

    def _lost(self, unit: Unit, error: str, written: str) -> None:
        if self.queue.lose(unit, error, written):
            text = self.job.store.failure_of(unit.folder)
            self.job.report(Event("failed", unit, {"error": text, "traceback": written}))
        else:
            self.job.report(Event("note", unit, {"text": f"{error}; it is done again"}))
            self.job.report(Event("stopped", unit))

    def _drop(self, child: Child) -> None:
        """Give up a unit that another has taken over, since this machine was out of touch for too long."""
        unit = child.unit
        assert unit is not None
        child.kill()
        self.queue.release(unit)
        self.job.report(Event("note", unit, {"text": "taken over by another process"}))
        self.job.report(Event("stopped", unit))
        self._replace(child)

    def _replace(self, child: Child) -> Child:
        """Start a new worker in place of one, unless nothing is left to do; return the one that is there now."""
        child.kill()
        child.take_back()
        if self.queue.left and not self.job.stop.is_set():
            place = self.children.index(child)
            child = self.children[place] = self._start(child.place)
        return child

    def _stop(self) -> None:
        """Let units in flight write their checkpoints; what takes too long is cut off."""
        for child in self.children:
            child.send({"stop": True})
        deadline = time.monotonic() + GRACE_SECONDS
        while any(child.unit for child in self.children) and time.monotonic() < deadline:
            for child in self.children:
                child.flush()
            try:
                child, message = self.inbox.get(timeout=0.2)
                if message is None:
                    child.take_back()
                else:
                    self.pending.append((child, message))
            except queue.Empty:
                pass
            try:
                self._handle_pending()
            except OSError as error:
                # What the store does not take now is done again, from its checkpoint.
                self._note(str(error))
