"""Child processes that gahbench starts: their sockets, time limits, signs of life and exit statuses."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from gahbench._util.readable import format_duration
from gahbench._util.resources import environment_seconds, kill_group, processor_ticks, python_environment, signal_name
from gahbench.contracts.engines import Job
from gahbench.contracts.unit import Unit
from gahbench.runs.protocol import SOCKET_CLOSED, decode
from gahbench.store.leases import unique_name

#: A worker is considered stuck if for this many seconds it neither sent a heartbeat nor used the processor. Heartbeats
#: alone do not suffice, since native code may hold the global interpreter lock while it computes.
SILENT_SECONDS = environment_seconds("GAHBENCH_SILENT_SECONDS", 120.0)
#: Seconds between two checks of the processor time of a worker.
_PROCESSOR_TIME_SECONDS = 1.0
#: The longest time in seconds that one tick of :class:`AwakeClock` counts.
_MAX_TICK = 5.0
#: The number of bytes of a worker's output that are kept with a failure.
_MAX_OUTPUT = 4000
#: The number of bytes per read, and the maximum number of reads in one call, since a plugin may write endlessly.
_CHUNK_BYTES, _MAX_CHUNKS = 1 << 16, 64
#: The maximum number of bytes kept of an incomplete line.
_MAX_UNREAD = 1 << 24
#: Timeout in seconds for sending a message.
_SEND_SECONDS = 5.0


class Child:
    """A Python module that runs in its own process and process group, and sends messages through a socket."""

    def __init__(self, module: str, output: int, arguments: Sequence[str], variables: Mapping[str, str]) -> None:
        self._socket, child_end = socket.socketpair()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(child_end.fileno()), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(child_end.fileno(),),
                env=variables,
                # Only the parent receives Ctrl-C; it then lets the workers write their checkpoints.
                start_new_session=True,
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            child_end.close()
        # A child that does not read must not block the parent for long.
        self._socket.settimeout(_SEND_SECONDS)
        self._unread, self._is_connected = bytearray(), True

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; errors are ignored, since the parent notices an exited child by its exit status."""
        with contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message, default=str).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that have arrived; lines that are not messages are dropped."""
        messages: list[dict[str, Any]] = []
        for _ in range(_MAX_CHUNKS):
            if not (self._is_connected and wait([self._socket], 0)):
                break
            try:
                data = self._socket.recv(_CHUNK_BYTES)
            except ConnectionError:
                data = b""
            self._is_connected = bool(data)
            self._unread += data
            if b"\n" in data:
                *lines, self._unread = self._unread.split(b"\n")
                messages += [message for line in lines if (message := decode(line, self.process.pid)) is not None]
            # A longer incomplete line was written by a plugin, since no message is that long.
            del self._unread[:-_MAX_UNREAD]
        return messages

    def describe_exit(self) -> str:
        """Return in words how the process ended, such as ``exited with status 1``."""
        status = self.process.wait()
        if status < 0:
            name = signal_name(-status)
            return f"was killed by {name}{' (the system does that when memory runs out)' * (name == 'SIGKILL')}"
        return f"exited with status {status}{', since a plugin closed its socket' * (status == SOCKET_CLOSED)}"

    def kill(self) -> None:
        """Kill the process and its process group, and close the socket."""
        if self._socket.fileno() >= 0:
            kill_group(self.process.pid)
            self.process.wait()
            self._socket.close()
            self._is_connected = False


def wait_for_any(children: Iterable[Child], seconds: float) -> None:
    """Wait until a child has sent data or closed its socket, but no longer than a number of seconds."""
    wait([child._socket for child in children if child._is_connected], seconds)


class WorkerChild(Child):
    """A worker process (:mod:`gahbench.runs.worker_process`) for units of one isolation key, and its current unit."""

    def __init__(self, slot: int, job: Job, limits: Mapping[str, str], key: str, now: float) -> None:
        self.slot, self.key = slot, key
        self.unit: Unit | None = None
        self.last: Unit | None = None
        self.is_ready = False
        self._limits = job.limits
        self._unit_started: float | None = None
        self._constructing, self._constructing_since = "", now
        self._last_sign_of_life = self._checked_at = now
        self._ticks = 0
        logs = job.store.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self._log = logs / f"worker-{unique_name()}.log"
        arguments = [str(job.store.folder), str(job.threads), job.device]
        with self._log.open("ab") as log:
            super().__init__(
                "gahbench.runs.worker_process", log.fileno(), arguments, worker_environment(job.threads, limits)
            )

    def assign(self, unit: Unit, files: Iterable[Path], packages: Iterable[str], now: float) -> None:
        """Send the worker a unit to run, with the plugin files and packages that the unit needs."""
        self.unit = self.last = unit
        self._unit_started = now if self.is_ready else None
        self.send({"unit": unit.record(), "files": [str(file) for file in files], "packages": list(packages)})

    def clear_unit(self) -> None:
        """Forget the current unit, after the unit has ended."""
        self.unit, self._unit_started, self._constructing = None, None, ""

    def observe(self, message: Mapping[str, Any], now: float) -> None:
        """Update the state of the worker from a message."""
        self._last_sign_of_life = now
        if message["event"] == "ready":
            self.is_ready = True
            self._unit_started = None if self.unit is None else now
        elif message["event"] == "constructing":
            self._constructing, self._constructing_since = message["plugin"], now

    def exceeded_limit(self, now: float) -> str | None:
        """Return in words which time limit of the suite the unit has exceeded; ``None`` if it has exceeded none."""
        limits = self._limits
        if self._constructing and now - self._constructing_since > limits.construction:
            return (
                f"importing or constructing {self._constructing} took longer than "
                f"{format_duration(limits.construction)}; set 'limits: {{construction: SECONDS}}' in the suite to "
                "allow more"
            )
        if limits.unit is not None and self._unit_started is not None and now - self._unit_started > limits.unit:
            return f"took longer than {format_duration(limits.unit)}, the limit of a unit in this suite"
        return None

    def is_silent(self, now: float) -> bool:
        """Return whether the worker has neither sent a message nor used the processor for :data:`SILENT_SECONDS`."""
        if now - self._checked_at > _PROCESSOR_TIME_SECONDS:
            self._checked_at, ticks = now, processor_ticks(self.process.pid)
            # If the system reports no processor time, assume that the worker is computing.
            if ticks is None or ticks != self._ticks:
                self._ticks, self._last_sign_of_life = ticks or 0, now
        return now - self._last_sign_of_life > SILENT_SECONDS

    def output(self) -> str:
        """Return the end of the worker's output."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _MAX_OUTPUT))
                return log.read(_MAX_OUTPUT).decode("utf-8", errors="replace")
        except OSError:
            return ""

    def kill(self) -> None:
        """Kill the process and its process group, close the socket, and remove an empty log."""
        super().kill()
        with contextlib.suppress(OSError):
            if not self._log.stat().st_size:
                self._log.unlink()


class AwakeClock:
    """A clock in seconds that stops while this process or the machine is suspended."""

    def __init__(self) -> None:
        self.now = 0.0
        self._last = time.monotonic()

    def tick(self) -> float:
        """Update the clock, and return its time; must be called more often than every :data:`_MAX_TICK` seconds."""
        last, self._last = self._last, time.monotonic()
        self.now += min(self._last - last, _MAX_TICK)
        return self.now


def worker_environment(threads: int, limits: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of a worker process, which set its number of threads and its device limits."""
    variables = python_environment()
    cache = Path(variables.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gahbench" / "compiled"
    defaults = {"TORCHINDUCTOR_CACHE_DIR": str(cache), "TORCHINDUCTOR_FX_GRAPH_CACHE": "1", "PYTHONFAULTHANDLER": "1"}
    return {**defaults, **variables, **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)), **limits}
