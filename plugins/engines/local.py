"""The default engine: a process for each row on this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
import types
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from gahbench import Engine, Execution, GahbenchError, Row, worker_devices

#: Seconds for which a row may write a checkpoint after its coordinator has ended.
ORPHAN_SECONDS = 4.0
#: Bytes of a row's output that are kept with the reason of its end.
OUTPUT_BYTES = 4000
_STOP, _READY = b"stop", b"ready"
_LOCK = threading.Lock()


class Local(Engine):
    """Runs each row in a process of its own on this machine; rows share its GPUs or processors.

    Parameters
    ----------
    workers
        Number of rows that run at the same time. ``null`` for ``workers_per_gpu`` rows on each GPU or, on a CPU, for
        the number of processors divided by the threads of a row.
    workers_per_gpu
        Number of rows that share a GPU, since a small network does not occupy a GPU. ``null`` for a number that suits
        the memory of the GPU and the size of the networks.
    start
        How processes start: ``forkserver`` forks them from a process that has imported torch, ``spawn`` starts Python
        anew. ``null`` for ``forkserver`` on Linux, and ``spawn`` elsewhere.
    """

    def __init__(
        self,
        workers: Annotated[int, Field(ge=1)] | None = None,
        workers_per_gpu: Annotated[int, Field(ge=1)] | None = None,
        start: Literal["forkserver", "spawn"] | None = None,
    ) -> None:
        self.workers, self.workers_per_gpu = workers, workers_per_gpu
        self._method = start or ("forkserver" if sys.platform == "linux" else "spawn")

    def start(self, run: Execution) -> None:
        """Open a slot for each row that may run at the same time."""
        devices = worker_devices(run, run.workers or self.workers, self.workers_per_gpu)
        self._context: Any = multiprocessing.get_context(self._method)
        self._running: set[_Process] = set()
        self._devices: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for slot in devices:
            self._devices.put(slot)
        self._slots = ThreadPoolExecutor(len(devices))

    def submit(self, function: Callable[..., None], row: Row) -> _Job:
        """Run a row in a process as soon as a slot is free."""
        job = _Job()
        job.future = self._slots.submit(self._run, function, row, job)
        return job

    def close(self) -> None:
        """Kill the processes of all rows."""
        self._slots.shutdown(wait=False, cancel_futures=True)
        for process in list(self._running):
            process.kill()
        self._slots.shutdown()

    def _run(self, function: Callable[..., None], row: Row, job: _Job) -> None:
        while True:
            device = self._devices.get()
            process = _Process(self._context, function, row, {**os.environ, **device.environment})
            self._running.add(process)
            job.process = process
            try:
                process.run()
            except Exception as error:
                if process.is_ready or not device.is_accelerator:
                    self._devices.put(device)
                    raise
                if self._devices.empty():
                    self._devices.put(device)
                    raise GahbenchError(
                        f"processes cannot start on device {device}: {error}. Run again once the device works (after a "
                        "restart of the machine, or when other processes have freed its memory), or with --device cpu"
                    ) from error
                # The slot of the device is lost, and the row runs on another one.
                continue
            else:
                self._devices.put(device)
                return
            finally:
                self._running.discard(process)


class _Job:
    """A row that waits for a slot, or runs in a process."""

    future: Future[None]
    process: _Process | None = None

    def done(self) -> bool:
        return self.future.done()

    def exception(self) -> BaseException | None:
        return None if self.future.cancelled() else self.future.exception()

    def cancel(self) -> None:
        if not self.future.cancel() and self.process is not None:
            self.process.stop()


class _Process:
    """A process that runs one row."""

    def __init__(self, context: Any, function: Callable[..., None], row: Row, environment: dict[str, str]) -> None:
        logs = row.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self._log = logs / f"row-{os.getpid()}-{uuid.uuid4().hex[:8]}.log"
        self._link, self._end = context.Pipe()
        #: Whether the device of the process was found to work.
        self.is_ready = False
        arguments = (self._end, function, row, environment, self._log)
        self._process = context.Process(target=_run_row, args=arguments, daemon=False)

    def run(self) -> None:
        """Run the row, and raise the error that ended it."""
        try:
            with _LOCK, _without_main(), _safe_path():
                self._process.start()
            self._end.close()
            while (message := self._receive()) == _READY:
                self.is_ready = True
            self._process.join()
            if message is None:
                raise RuntimeError(f"the process of the row {self._describe_end()}\n{self._output()}".strip())
            if (error := pickle.loads(message)) is not None:
                raise error
        finally:
            self.kill()
            self._link.close()
            with contextlib.suppress(OSError):
                if not self._log.stat().st_size:
                    self._log.unlink()

    def _receive(self) -> bytes | None:
        """Return the next message of the process; ``None`` if it has ended without one."""
        # Another process that a plugin has forked may hold the pipe open.
        if self._link in wait([self._link, self._process.sentinel]):
            with contextlib.suppress(EOFError, OSError):
                return self._link.recv_bytes()  # type: ignore[no-any-return]
        return None

    def stop(self) -> None:
        """Ask the row to write a checkpoint and end."""
        with contextlib.suppress(OSError):
            self._link.send_bytes(_STOP)

    def kill(self) -> None:
        """Kill the process and the processes that it has started."""
        if self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError, AttributeError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.join()

    def _describe_end(self) -> str:
        status = self._process.exitcode or 0
        if status >= 0:
            return f"exited with status {status}"
        with contextlib.suppress(ValueError):
            name = signal.Signals(-status).name
            return f"was killed by {name}{' (the system does that when memory runs out)' * (name == 'SIGKILL')}"
        return f"was killed by signal {-status}"

    def _output(self) -> str:
        """Return the end of the output of the process."""
        try:
            return self._log.read_bytes()[-OUTPUT_BYTES:].decode(errors="replace")
        except OSError:
            return ""


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Keep a new process from importing the script that this process runs, which may have no guard against that."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Let the fork server, which starts with the first process, import the same packages as this process."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["gahbench.runs.preloaded"])
    variables = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _run_row(link: Connection, function: Callable[..., None], row: Row, environment: dict[str, str], log: Path) -> None:
    """Run a row in this new process, which ends when its coordinator ends."""
    # The terminal's signals are for the coordinator, which asks its rows to write checkpoints.
    for name in ("SIGINT", "SIGTERM", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: None)
    with contextlib.suppress(OSError, AttributeError):
        os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environment)
    stop = threading.Event()
    threading.Thread(target=_follow, args=(link, stop), daemon=True).start()
    error: BaseException | None = None
    try:
        _prepare(row)
        link.send_bytes(_READY)
        function(row, stop)
    except BaseException as raised:
        error = raised
    if error is not None and not isinstance(error, OSError | GahbenchError):
        # An error of a plugin may not be picklable.
        error = RuntimeError("".join(traceback.format_exception_only(error)).strip())
    link.send_bytes(pickle.dumps(error))
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that a plugin has left running must not keep the process alive.
    os._exit(0)


def _prepare(row: Row) -> None:
    """Set the threads and the device of this process, and check that the device works."""
    import faulthandler

    import threadpoolctl

    from gahbench import hardware

    faulthandler.enable()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gahbench" / "compiled"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(row.threads))
    threadpoolctl.threadpool_limits(row.threads)
    device = hardware(row.device)
    device.use_float32()
    device.check()


def _follow(link: Connection, stop: threading.Event) -> None:
    """Set ``stop`` when the coordinator asks for it or has ended; then also end this process."""
    try:
        link.recv_bytes()
        stop.set()
        link.recv_bytes()
    except (EOFError, OSError):
        stop.set()
        time.sleep(ORPHAN_SECONDS)
        with contextlib.suppress(OSError, AttributeError):
            os.killpg(os.getpgid(0), signal.SIGKILL)
        os._exit(1)
