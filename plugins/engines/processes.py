"""The default engine: worker processes on this machine, each of which may die without harm to the others."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import threading
import time
from typing import Annotated, Any

from pydantic import Field

from gahbench import (
    Engine,
    Event,
    GahbenchError,
    Job,
    Unit,
    cpu_count,
    gpu_names,
    worker_command,
    worker_environment,
)

#: How long a unit in flight may take to write its checkpoint when the run is stopped.
GRACE_SECONDS = 20.0
#: A worker that dies before it was ever ready would only die again.
START_ATTEMPTS = 2


class Processes(Engine):
    """Runs units in worker processes that live long: one to a GPU, or the processors shared out among them.

    Parameters
    ----------
    workers
        Number of workers; null for one to a GPU or, on CPU, one to a fit and at most one to a processor.
    """

    def __init__(self, workers: Annotated[int, Field(ge=1)] | None = None) -> None:
        self.workers = workers

    def run(self, job: Job) -> None:
        """Run the units of a job until all are done, failed, or the job is stopped.

        Raises
        ------
        GahbenchError
            If workers cannot be started at all.
        """
        _Run(job, job.workers or self.workers).run()


class _Worker:
    """The handle of one worker process."""

    def __init__(self, place: int, job: Job, threads: int, gpu: str | None, inbox: queue.Queue[Any]) -> None:
        self.place, self.gpu, self.threads = place, gpu, threads
        self.unit: Unit | None = None
        self.last: Unit | None = None
        self.ready = False
        logs = job.store.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.log = logs / f"worker-{place}.log"
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                worker_command(job, threads),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=worker_environment(threads, gpu),
                # Ctrl-C must reach this process alone, which then lets workers write their checkpoints.
                start_new_session=True,
            )
        threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; a worker that is gone will be noticed by its silence."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message, default=str) + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, OSError):
            pass  # Its end of output, which _listen reports, says the same.

    def close(self) -> None:
        """Release a process that has ended."""
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def death(self) -> tuple[str, str]:
        """Return how the worker ended, in a line, and the end of what it wrote."""
        status = self.process.wait()
        try:
            written = self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
        except OSError:
            written = ""
        if status < 0:
            name = signal.Signals(-status).name
            hint = " (the system does that when memory runs out)" if name == "SIGKILL" else ""
            return f"the worker process was ended by {name}{hint}", written
        return f"the worker process exited with status {status}", written

    def _listen(self, inbox: queue.Queue[Any]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                inbox.put((self, json.loads(line)))
            except ValueError:
                continue  # A line cut off by the worker's death.
        self.process.stdout.close()
        inbox.put((self, None))


class _Run:
    """One run of a job."""

    def __init__(self, job: Job, workers: int | None) -> None:
        self.job = job
        self.fits = sorted((unit for unit in job.units if unit.kind == "fit"), key=lambda unit: -unit.work)
        waiting = {unit.key for unit in self.fits}
        scores = [unit for unit in job.units if unit.kind == "score"]
        #: Fits that scores wait for.
        self.waiting = waiting
        self.scores = [unit for unit in scores if waiting.isdisjoint(unit.needs)]
        self.blocked = [unit for unit in scores if not waiting.isdisjoint(unit.needs)]
        gpus = gpu_names()
        cores = cpu_count()
        count = workers or (len(gpus) or min(cores, max(1, job.planned_fits)))
        self.gpus: list[str | None] = [gpus[place % len(gpus)] if gpus else None for place in range(count)]
        # Not more workers than units now, but threads as the whole plan shares them out: rounding depends on them.
        self.count = max(1, min(count, len(job.units)))
        self.threads = max(1, cores // count)
        self.inbox: queue.Queue[Any] = queue.Queue()
        self.workers: list[_Worker] = []
        self.failed_starts = 0

    def run(self) -> None:
        """Run all units; on the way out no worker is left."""
        try:
            self.workers = [self._start(place) for place in range(self.count)]
            while self._busy() or (self._pending() and not self.job.stop.is_set()):
                try:
                    self._turn()
                except KeyboardInterrupt:
                    self.job.stop.set()
                if self.job.stop.is_set():
                    self._stop()
                    return
        finally:
            for worker in self.workers:
                if worker.process.poll() is None:
                    worker.process.kill()
                worker.close()

    def _start(self, place: int) -> _Worker:
        return _Worker(place, self.job, self.threads, self.gpus[place], self.inbox)

    def _busy(self) -> bool:
        return any(worker.unit is not None for worker in self.workers)

    def _pending(self) -> bool:
        return bool(self.fits or self.scores)

    def _turn(self) -> None:
        """Give work to idle workers, then wait a moment for news."""
        for worker in self.workers:
            if worker.ready and worker.unit is None and (unit := self._next(worker)) is not None:
                worker.unit = worker.last = unit
                self.job.report(Event("started", unit))
                worker.send({"unit": unit.record()})
        try:
            worker, message = self.inbox.get(timeout=0.2)
        except queue.Empty:
            return
        self._handle(worker, message)

    def _next(self, worker: _Worker) -> Unit | None:
        """Choose a unit: the longest fit first, then scores that use what the worker has in memory."""
        if self.fits:
            return self.fits.pop(0)
        if not self.scores:
            return None
        last = worker.last
        same = (unit for unit in self.scores if last is not None and _group(unit) == _group(last))
        busy = {_group(other.unit) for other in self.workers if other.unit is not None}
        fresh = (unit for unit in self.scores if _group(unit) not in busy)
        unit = next(same, None) or next(fresh, None) or self.scores[0]
        self.scores.remove(unit)
        return unit

    def _handle(self, worker: _Worker, message: dict[str, Any] | None) -> None:
        if message is None:
            self._bury(worker)
            return
        event, unit = message.pop("event"), worker.unit
        if event == "ready":
            worker.ready = True
            self.failed_starts = 0
        elif unit is None:
            return
        elif event in ("progress", "note"):
            self.job.report(Event(event, unit, message))
        else:
            worker.unit = None
            self._settle(unit, event == "finished")
            if event in ("finished", "failed"):
                self.job.report(Event(event, unit, message))

    def _bury(self, worker: _Worker) -> None:
        """Record what a dead worker was doing as failed, and replace it."""
        error, written = worker.death()
        worker.close()
        if worker.unit is not None:
            unit, worker.unit = worker.unit, None
            self.job.store.fail(unit, error, written)
            self._settle(unit, finished=False)
            self.job.report(Event("failed", unit, {"error": error, "traceback": written}))
        elif not worker.ready:
            self.failed_starts += 1
            if self.failed_starts >= START_ATTEMPTS:
                raise GahbenchError(f"worker processes cannot start: {error}\n{written}")
        if self._pending() or self._busy():
            self.workers[self.workers.index(worker)] = self._start(worker.place)

    def _settle(self, unit: Unit, finished: bool) -> None:
        """Release the units that waited for this one, or drop them with it."""
        concerned = [other for other in self.blocked if unit.key in other.needs]
        self.blocked = [other for other in self.blocked if unit.key not in other.needs]
        if finished:
            self.waiting.discard(unit.key)
            self.scores += [other for other in concerned if self.waiting.isdisjoint(other.needs)]
            self.blocked += [other for other in concerned if not self.waiting.isdisjoint(other.needs)]

    def _stop(self) -> None:
        """Let units in flight write their checkpoints; what takes too long is cut off."""
        for worker in self.workers:
            worker.send({"stop": True})
        deadline = time.monotonic() + GRACE_SECONDS
        while self._busy() and (left := deadline - time.monotonic()) > 0:
            try:
                worker, message = self.inbox.get(timeout=left)
            except queue.Empty:
                return
            if message is None:
                worker.unit = None
            else:
                self._handle(worker, message)


def _group(unit: Unit) -> tuple[Any, ...]:
    """Return what the scores of one evaluation, and the fit before them, have in common."""
    return (unit.dataset, unit.entrant, unit.seed)
