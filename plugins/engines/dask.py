"""The engine for Dask clusters."""

from __future__ import annotations

import importlib.util
import multiprocessing
import threading
import uuid
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from gahbench import Engine, Execution, GahbenchError, Job, Row, run_in_processes

#: Timeout for answers of the scheduler in seconds.
TIMEOUT_SECONDS = 30.0
#: Dask counts the death of a worker against all tasks that it holds, so a task may see many.
ALLOWED_FAILURES = 100
#: The events that end the rows of a run on this worker, by the token of the run.
_stops: dict[str, threading.Event] = {}


class Dask(Engine):
    """Runs rows as tasks on a Dask cluster; needs the extra ``dask``.

    All workers must have gahbench installed and see the results folder under the same path. Each task runs its row in a
    process of its own; a worker with several threads runs several rows at a time. Workers may join and leave.

    Parameters
    ----------
    scheduler
        Address of the scheduler, such as ``tcp://host:8786``.
    workers
        Largest number of workers, taken from those of the cluster at the start; ``null`` for all, at any time.
    """

    remote = True

    def __init__(
        self, scheduler: Annotated[str, Field(min_length=1)], workers: Annotated[int, Field(ge=1)] | None = None
    ) -> None:
        if importlib.util.find_spec("distributed") is None:
            raise GahbenchError("the engine 'dask' needs the package distributed: pip install 'gahbench[dask]'")
        self.scheduler, self.workers = scheduler, workers
        self._client: Any = None

    def start(self, run: Execution) -> None:
        """Connect to the scheduler."""
        from distributed import Client

        try:
            self._client = Client(self.scheduler, timeout=TIMEOUT_SECONDS, set_as_default=False)
            self._client.run_on_scheduler(_allow_failures)
        except Exception as error:
            raise GahbenchError(f"no scheduler of Dask answers at {self.scheduler}: {error}") from error
        self._token, limit = uuid.uuid4().hex, run.workers or self.workers
        self._addresses = None if limit is None else sorted(self._client.nthreads())[:limit]

    def submit(self, function: Callable[..., None], row: Row) -> Job:
        """Submit a task; Dask starts the tasks that were submitted first."""
        key = f"gahbench-{uuid.uuid4().hex}"
        task = self._client.submit(_run, row, self._token, key=key, pure=False, workers=self._addresses)
        return _Task(self, task)

    def stop_rows(self) -> None:
        """Ask the rows of all workers to write checkpoints and end, once."""
        token, self._token = self._token, ""
        if token:
            self._client.run(_stop, token, on_error="ignore")

    def close(self) -> None:
        """Disconnect, after stopping the rows that are left."""
        if self._client is not None:
            self.stop_rows()
            self._client.close(timeout=5)


class _Task:
    """A task of Dask."""

    def __init__(self, engine: Dask, future: Any) -> None:
        self._engine, self._future = engine, future

    def done(self) -> bool:
        return bool(self._future.done())

    def exception(self) -> BaseException | None:
        if self._future.cancelled() or self._future.status == "lost":
            return RuntimeError("the task was lost with the connection to the scheduler")
        error: BaseException | None = self._future.exception(timeout=TIMEOUT_SECONDS)
        return error

    def cancel(self) -> None:
        # A cancelled task counts as done although it still writes a checkpoint.
        self._engine.stop_rows()


def _allow_failures(dask_scheduler: Any) -> None:
    dask_scheduler.allowed_failures = max(dask_scheduler.allowed_failures, ALLOWED_FAILURES)


def _run(row: Row, token: str) -> None:
    """Run a row in a process of its own."""
    # Workers are daemonic, and daemonic processes may not have children.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    run_in_processes(row, _stops.setdefault(token, threading.Event()))


def _stop(token: str) -> None:
    _stops.setdefault(token, threading.Event()).set()
