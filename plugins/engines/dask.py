"""The engine for Dask clusters."""

from __future__ import annotations

import contextlib
import importlib.util
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from gahbench import Engine, Event, GahbenchError, Job, Watch, hardware, work_command
from gahbench._util.resources import cpu_count

#: Seconds between polls of the cluster and the results folder.
POLL_SECONDS = 2.0
#: Timeout for answers of the scheduler in seconds.
TIMEOUT_SECONDS = 30.0
#: Timeout in seconds for writing checkpoints when the run is stopped.
GRACE_SECONDS = 60.0
#: A task that ends within this many seconds without a finished unit counts as dead.
DEAD_TASK_SECONDS = 300.0
#: Number of successive dead tasks per worker after which the run fails, and seconds before a new task after the first
#: dead task; the wait then grows fourfold each time.
MAX_DEAD_TASKS, FIRST_WAIT_SECONDS = 3, 5.0
#: Script that terminates the command, which then writes checkpoints, when standard input closes, so that the command
#: never outlives the worker.
_SUPERVISOR = """
import os, subprocess, sys, threading
work = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: (os.read(0, 1), work.terminate()), daemon=True).start()
status = work.wait()
os._exit(status if status >= 0 else 128 - status)
"""

#: Processes on this worker for each token of a run, or ``None`` after the run is stopped.
_processes: dict[str, list[subprocess.Popen[bytes]] | None] = {}


class Dask(Engine):
    """Runs units on a Dask cluster: each worker of the cluster runs ``gahbench work`` on the results folder.

    All workers must have gahbench installed and see the folder under the same path. Workers that join later also
    receive tasks, and tasks of lost workers are replaced.

    Parameters
    ----------
    scheduler
        Address of the scheduler, such as ``tcp://host:8786``.
    workers
        Largest number of workers; ``null`` for all.
    """

    def __init__(
        self, scheduler: Annotated[str, Field(min_length=1)], workers: Annotated[int, Field(ge=1)] | None = None
    ) -> None:
        if importlib.util.find_spec("distributed") is None:
            raise GahbenchError("the engine 'dask' needs the package distributed: pip install 'gahbench[dask]'")
        self.scheduler, self.workers = scheduler, workers

    def run(self, job: Job) -> None:
        """Keep a task on each worker until all units are done or failed, or the job is stopped."""
        if not job.stop.is_set():
            _ClusterRun(job, self.scheduler, job.workers or self.workers).run()


class _ClusterRun:
    """Submission and monitoring of tasks for a results folder."""

    def __init__(self, job: Job, scheduler: str, limit: int | None) -> None:
        self.job, self.scheduler, self.limit = job, scheduler, limit
        self.token = uuid.uuid4().hex
        self.folder = Path(job.store.folder).resolve()
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        self.watch = Watch(job)
        self.left = self.watch.update()
        self.client: Any = None
        #: For each worker address the future of its task, its start time, and the number of units left at that time.
        self.tasks: dict[str, tuple[Any, float, int]] = {}
        self.not_before: dict[str, float] = {}
        self.dead_tasks = 0
        self.last_note = ""

    def run(self) -> None:
        """Submit and monitor tasks until no unit is left, or the job is stopped."""
        if not self.left:
            return
        self._connect()
        try:
            while self.left and not self.job.stop.is_set():
                self._poll()
                self.job.stop.wait(POLL_SECONDS)
                self.left = self.watch.update()
        except KeyboardInterrupt:
            self.job.stop.set()
        finally:
            if self.left:
                self._stop()
            self._disconnect()

    def _connect(self) -> None:
        from distributed import Client

        answers: queue.Queue[Any] = queue.Queue()

        def connect() -> None:
            try:
                answers.put(Client(self.scheduler, timeout=TIMEOUT_SECONDS, set_as_default=False))
            except Exception as error:
                answers.put(error)

        # A client ignores its timeout and waits forever for a scheduler that accepts connections but does not answer.
        threading.Thread(target=connect, daemon=True).start()
        try:
            answer = answers.get(timeout=TIMEOUT_SECONDS + 1)
        except queue.Empty:
            answer = TimeoutError(f"no answer within {TIMEOUT_SECONDS:.0f} s")
        if isinstance(answer, Exception):
            raise GahbenchError(f"no scheduler of Dask answers at {self.scheduler}: {answer}") from answer
        self.client = answer

    def _disconnect(self) -> None:
        if self.client is not None:
            self.client.close(timeout=5)
            self.client = None

    def _poll(self) -> None:
        """Poll the cluster, and submit a task to each idle worker."""
        try:
            if self.client is None or self.client.status not in ("running", "connecting"):
                self._disconnect()
                self._connect()
            workers = self.client.nthreads(callback_timeout=TIMEOUT_SECONDS)
        except Exception as error:
            # Errors of the scheduler do not affect units that are running.
            self._note_change(
                f"{error or type(error).__name__}; following the results folder until the scheduler answers"
            )
            return
        for address, (future, started_at, left_before) in list(self.tasks.items()):
            if address not in workers:
                # A process that is still running on the lost worker does no harm.
                del self.tasks[address]
            elif future.status != "pending":
                del self.tasks[address]
                self._assess(address, future, started_at, left_before, len(workers))
        now = time.monotonic()
        idle = [worker for worker in workers if worker not in self.tasks and now >= self.not_before.get(worker, now)]
        try:
            for address in idle[: max(0, (self.limit or len(workers)) - len(self.tasks))]:
                self.tasks[address] = (self._submit(address), now, self.left)
        except Exception as error:
            self._note_change(f"{error or type(error).__name__}; trying again")
            return
        self._note_change(f"{len(self.tasks)} of {len(workers)} workers are at work")

    def _submit(self, address: str) -> Any:
        return self.client.submit(
            run_work,
            # Drop the path of the Python interpreter, which may differ on the worker.
            work_command(self.job)[1:],
            self.job.threads,
            self.folder / "logs",
            self.token,
            key=f"gahbench-{uuid.uuid4().hex}",
            pure=False,
            workers=[address],
        )

    def _assess(self, address: str, future: Any, started_at: float, left_before: int, workers: int) -> None:
        """Decide when a worker gets its next task, after a task ended with units left."""
        if self.left < left_before or time.monotonic() - started_at > DEAD_TASK_SECONDS:
            self.dead_tasks = 0
            return
        self.dead_tasks += 1
        rounds = self.dead_tasks / min(workers, self.limit or workers)
        if rounds >= MAX_DEAD_TASKS:
            raise GahbenchError(
                f"{self.dead_tasks} tasks in a row ended without finishing a unit, with {self.left} left; the last "
                f"task, on {address}, {_describe_end(future)}"
            )
        self.not_before[address] = time.monotonic() + FIRST_WAIT_SECONDS * 4 ** int(rounds)

    def _stop(self) -> None:
        """Ask the tasks to write checkpoints and end."""
        try:
            if self.client is None:
                raise GahbenchError("not connected to the scheduler")
            # Errors of workers that do not answer must not keep other workers from stopping.
            self.client.run(stop, self.token, workers=list(self.tasks), on_error="ignore", callback_timeout=10)
        except Exception as error:
            self._note_change(f"{error or type(error).__name__}; some tasks may continue until all units are done")
        deadline = time.monotonic() + GRACE_SECONDS
        while any(future.status == "pending" for future, _, _ in self.tasks.values()) and time.monotonic() < deadline:
            time.sleep(0.2)
        self.left = self.watch.update()

    def _note_change(self, text: str) -> None:
        if text != self.last_note:
            self.last_note = text
            self.job.report(Event("note", None, {"text": f"dask: {text}"}))


def _describe_end(future: Any) -> str:
    """Describe how a task ended."""
    if future.status != "finished":
        error = future.exception(timeout=5) if future.status == "error" else None
        return f"ended with {type(error).__name__}: {error}" if error else f"was {future.status}"
    status, log = future.result(timeout=5)
    try:
        log_end = Path(log).read_text(errors="replace")[-2000:].strip()
    except OSError as error:
        log_end = str(error)
    return f"ended with status {status}; the end of {log}:\n{log_end}"


def run_work(arguments: Sequence[str], threads: int, folder: Path, token: str) -> tuple[int, Path]:
    """Run ``gahbench work`` with the Python of this worker, until the command or the worker ends."""
    from distributed import get_worker
    from distributed.core import Status

    worker = get_worker()
    if not hardware().is_accelerator:
        # Several Dask workers may share this machine.
        arguments = [*arguments, "--workers", str(max(1, min(worker.state.nthreads, cpu_count()) // threads))]
    log = folder / f"dask-{worker.address.rpartition('/')[2].replace(':', '-')}.log"
    command = [sys.executable, "-c", _SUPERVISOR, sys.executable, *arguments]
    with log.open("ab") as out:
        if _processes.setdefault(token, []) is None:
            return 130, log
        # In a new session the process does not receive Ctrl-C from the terminal of a local cluster.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True)
    processes = _processes[token]
    if processes is None:
        _request_end(process)
    else:
        processes.append(process)
    while process.poll() is None:
        if worker.status not in (Status.running, Status.paused):
            _request_end(process)
        time.sleep(0.5)
    _request_end(process)
    return process.returncode, log


def stop(token: str) -> None:
    """Ask the processes of a run on this worker to end, and prevent new processes."""
    processes, _processes[token] = _processes.get(token), None
    for process in processes or []:
        _request_end(process)


def _request_end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
