"""The engine for Dask clusters."""

from __future__ import annotations

import multiprocessing
import threading
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from gahbench import Engine, GahbenchError, Job, Row, run_in_processes

#: Seconds within which the scheduler must answer.
TIMEOUT_SECONDS = 30.0
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
    """

    remote = True

    def __init__(self, scheduler: str) -> None:
        try:
            import distributed
        except ImportError as error:
            raise GahbenchError(f"{error}: pip install 'gahbench[dask]'") from error
        self._distributed = distributed
        self.scheduler, self._token = scheduler, uuid.uuid4().hex
        self._client: Any = None

    def start(self, row: Row, workers: int | None, stop: threading.Event) -> None:
        """Connect to the scheduler."""
        try:
            self._client = self._distributed.Client(self.scheduler, timeout=TIMEOUT_SECONDS, set_as_default=False)
        except Exception as error:
            raise GahbenchError(f"no scheduler of Dask answers at {self.scheduler}: {error}") from error
        # Dask counts the death of a worker against all tasks that it holds, so a task may see many.
        self._client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 100))
        self.jobs = workers

    def submit(self, function: Callable[..., None], row: Row) -> Job:
        """Submit a task; Dask starts the tasks that were submitted first."""
        task = self._client.submit(_run, row, self._token, pure=False)
        # A task that Dask cancels counts as done although its row still writes a checkpoint.
        return cast("Job", SimpleNamespace(done=task.done, exception=task.exception, cancel=self.stop_rows))

    def stop_rows(self) -> None:
        """Ask the rows on all workers to write checkpoints and end, once."""
        token, self._token = self._token, ""
        if token:
            self._client.run(_stop, token, on_error="ignore")

    def close(self) -> None:
        """Disconnect, after stopping the rows that are left."""
        if self._client is not None:
            self.stop_rows()
            self._client.close(timeout=5)


def _run(row: Row, token: str) -> None:
    """Run rows one after the other, each in a process of its own."""
    # Workers are daemonic, and daemonic processes may not have children.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    run_in_processes(row, _stops.setdefault(token, threading.Event()), workers=1)


def _stop(token: str) -> None:
    _stops.setdefault(token, threading.Event()).set()
