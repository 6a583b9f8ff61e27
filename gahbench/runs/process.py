"""Processes that run one row each: how they start, follow their coordinator, and end."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from gahbench._util.errors import GahbenchError
from gahbench._util.resources import detach, kill_group, start_process
from gahbench.contracts.engines import Row
from gahbench.devices.hardware import hardware

#: Seconds for which a row may write a checkpoint after its coordinator has ended.
ORPHAN_SECONDS = 4.0
#: Seconds between two looks at the event that ends a row.
POLL_SECONDS = 0.1
#: Bytes of a row's output that are kept with the reason of its end.
OUTPUT_BYTES = 4000
_STOP, _READY = b"stop", b"ready"


class RowProcess:
    """A process that runs one row.

    Parameters
    ----------
    function
        The function of a row and an event that ends it, which the engine was given.
    row
        The row.
    stop
        Event that is set when the row is to write a checkpoint and end.
    start
        How processes start: ``forkserver`` or ``spawn``. ``None`` for ``forkserver`` on Linux, and ``spawn`` elsewhere.

    Attributes
    ----------
    is_ready
        Whether the device of the process was found to work.
    """

    def __init__(
        self, function: Callable[..., None], row: Row, stop: threading.Event, start: str | None = None
    ) -> None:
        self._function, self._row, self._stop, self._start, self.is_ready = function, row, stop, start, False
        self._log = row.folder / "logs" / f"row-{os.getpid()}-{uuid.uuid4().hex[:8]}.log"
        self._link, self._end = multiprocessing.Pipe()
        self._process: Any = None
        self._is_told = False

    def run(self, variables: dict[str, str]) -> None:
        """Run the row with some environment variables, and raise the error that ended it."""
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            arguments = (self._end, self._function, self._row, {**os.environ, **variables}, self._log)
            self._process = start_process(_run_row, arguments, self._start)
            self._end.close()
            while (message := self._receive()) == _READY:
                self.is_ready = True
            self._process.join()
            if message is None:
                raise RuntimeError(f"the process of the row {self._describe_end()}".strip())
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
        while not (ready := wait([self._link, self._process.sentinel], POLL_SECONDS)):
            if self._stop.is_set() and not self._is_told:
                self._is_told = True
                with contextlib.suppress(OSError):
                    self._link.send_bytes(_STOP)
        if self._link in ready:
            with contextlib.suppress(EOFError, OSError):
                return bytes(self._link.recv_bytes())
        return None

    def kill(self) -> None:
        """Kill the process and the processes that it has started."""
        if self._process is not None and self._process.pid is not None:
            with contextlib.suppress(AttributeError):  # Windows has no process groups.
                kill_group(self._process.pid)
            self._process.kill()
            self._process.join()

    def _describe_end(self) -> str:
        """Return how the process ended, and the end of its output."""
        status, output, names = self._process.exitcode or 0, "", {each.value: each.name for each in signal.Signals}
        reason = f"was killed by {names.get(-status, -status)}" if status < 0 else f"exited with status {status}"
        if "SIGKILL" in reason:
            reason += " (the system does that when memory runs out)"
        with contextlib.suppress(OSError):
            output = self._log.read_bytes()[-OUTPUT_BYTES:].decode(errors="replace")
        return f"{reason}\n{output}"


def _run_row(link: Connection, function: Callable[..., None], row: Row, environment: dict[str, str], log: Path) -> None:
    """Run a row in this new process, which ends when its coordinator ends."""
    # The terminal's signals are for the coordinator, which asks its rows to write checkpoints.
    for name in ("SIGINT", "SIGTERM", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: None)
    detach(log)
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
    import threadpoolctl

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
