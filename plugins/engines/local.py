"""The default engine: a process for each row on this machine."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Any, Literal

from pydantic import Field

from gahbench import Engine, GahbenchError, Row, RowProcess, worker_devices


class Local(Engine):
    """Runs each row in a process of its own on this machine; rows share its GPUs or processors.

    Parameters
    ----------
    workers_per_gpu
        Number of rows that share a GPU, since a small network does not occupy a GPU. ``null`` for a number that suits
        the memory of the GPU and the size of the networks.
    start
        How processes start: ``forkserver`` forks them from a process that has imported torch, ``spawn`` starts Python
        anew. ``null`` for ``forkserver`` on Linux, and ``spawn`` elsewhere.
    """

    def __init__(
        self,
        workers_per_gpu: Annotated[int, Field(ge=1)] | None = None,
        start: Literal["forkserver", "spawn"] | None = None,
    ) -> None:
        self.workers_per_gpu, self._method = workers_per_gpu, start

    def start(self, row: Row, workers: int | None, stop: threading.Event) -> None:
        """Open a slot for each row that may run at the same time."""
        super().start(row, workers, stop)
        devices = worker_devices(row, workers, self.workers_per_gpu)
        self._running, self._working = set[RowProcess](), len(devices)
        self._devices: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for slot in devices:
            self._devices.put(slot)
        self._slots = ThreadPoolExecutor(len(devices))

    def submit(self, function: Callable[..., None], row: Row) -> Future[None]:
        """Run a row in a process as soon as a slot is free."""
        return self._slots.submit(self._run, function, row)

    def close(self) -> None:
        """Kill the processes of all rows."""
        self._slots.shutdown(wait=False, cancel_futures=True)
        for process in list(self._running):
            process.kill()
        self._slots.shutdown()

    def _run(self, function: Callable[..., None], row: Row) -> None:
        while not self.stop.is_set():
            device, process = self._devices.get(), RowProcess(function, row, self.stop, self._method)
            self._running.add(process)
            try:
                process.run(device.environment)
                return
            except Exception as error:
                if process.is_ready or not device.is_accelerator:
                    raise
                if self._working == 1:
                    raise GahbenchError(
                        f"processes cannot start on device {device}: {error}. Run again once the device works (after a "
                        "restart of the machine, or when other processes have freed its memory), or with --device cpu"
                    ) from error
                # The slot of the device is lost, and the row waits for another one.
                self._working -= 1
                device = None
            finally:
                self._running.discard(process)
                if device is not None:
                    self._devices.put(device)
