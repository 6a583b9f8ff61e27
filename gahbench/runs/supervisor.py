"""Worker processes on this machine: each does one unit at a time, and may die without harm to the others."""

from __future__ import annotations

import queue
import time
from typing import Any

from gahbench._util.errors import GahbenchError
from gahbench._util.resources import cpu_count, gpu_memory, gpu_names
from gahbench.contracts.jobs import Event, Job
from gahbench.contracts.unit import Unit
from gahbench.runs import gpu_share
from gahbench.runs.child import Child
from gahbench.runs.factory import CodeChangedError
from gahbench.runs.queue import Queue

#: How long a unit in flight may take to write its checkpoint when the run is stopped.
GRACE_SECONDS = 20.0
#: A worker that dies before it was ever ready would only die again.
START_ATTEMPTS = 2
#: Seconds between two looks at a store in which others do what is left.
WAIT_SECONDS = 1.0
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
        # Not more workers than units.
        self.gpus = gpus[: max(1, len(job.units))]
        self.inbox: queue.Queue[Any] = queue.Queue()
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
            return Child(place, self.job, self.gpus[place], self.inbox)
        except OSError as error:
            raise GahbenchError(f"worker processes cannot start in {self.job.store.folder}: {error}") from error

    def _note(self, text: str) -> None:
        """Say what is wrong, once."""
        if text != self.trouble:
            self.trouble = text
            self.job.report(Event("note", None, {"text": text}))

    def _turn(self) -> None:
        """Give work to idle workers, then wait a moment for news."""
        for child in self.children:
            child.end_helpers()
            if child.unit is not None and not self.queue.is_own(child.unit):
                self._drop(child)
            elif child.is_ready and child.unit is None and time.monotonic() >= self.waited_until:
                unit = self.queue.take(child.last)
                if unit is None:
                    # Others are doing what is left, or what is left waits for it.
                    self.waited_until = time.monotonic() + WAIT_SECONDS / 4
                    break
                child.give(unit)
                self.job.report(Event("started", unit))
        try:
            child, message = self.inbox.get(timeout=0.2)
        except queue.Empty:
            if not any(child.unit for child in self.children):
                time.sleep(WAIT_SECONDS / 4)
            return
        self._handle(child, message)

    def _handle(self, child: Child, message: dict[str, Any] | None) -> None:
        if child not in self.children:
            return  # It was given up.
        if message is None:
            self._bury(child)
            return
        event, unit = message.pop("event"), child.unit
        if event == "ready":
            child.is_ready = True
            self.failed_starts = 0
        elif unit is None:
            return
        elif event in ("progress", "note"):
            self.job.report(Event(event, unit, message))
        else:
            child.unit = None
            if message.pop("code_changed", False) and not self.job.planned_here:
                # Others may have the right code.
                raise CodeChangedError(message["error"].partition(": ")[2])
            if event == "failed" and self.queue.is_own(unit):
                self.job.store.fail(unit, message["error"], message["traceback"])
            if event == "stopped":
                self.queue.release(unit)
            else:
                self.queue.finish(unit)
                self.waited_until = 0.0
            self.job.report(Event(event, unit, message))

    def _bury(self, child: Child) -> None:
        """Record that what a dead worker was doing is lost, and replace the worker."""
        error, written = child.death()
        child.kill()
        if child.unit is not None:
            self._lost(child.unit, error, written)
        elif not child.is_ready:
            self.failed_starts += 1
            if self.failed_starts >= START_ATTEMPTS:
                raise GahbenchError(f"worker processes cannot start: {error}\n{written}")
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

    def _replace(self, child: Child) -> None:
        place = self.children.index(child)
        self.children[place] = self._start(child.place)

    def _stop(self) -> None:
        """Let units in flight write their checkpoints; what takes too long is cut off."""
        for child in self.children:
            child.send({"stop": True})
        deadline = time.monotonic() + GRACE_SECONDS
        while any(child.unit for child in self.children) and (left := deadline - time.monotonic()) > 0:
            try:
                child, message = self.inbox.get(timeout=left)
            except queue.Empty:
                return
            if message is None:
                child.unit = None
            else:
                self._handle(child, message)
