"""Child processes: a process for each outside plugin, a timeout, a heartbeat, and an exit status."""

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

from gahbench._util.readable import duration
from gahbench._util.resources import environment_seconds, kill_group, processor_ticks, python_environment, signal_name
from gahbench.contracts.engines import Job
from gahbench.contracts.unit import Unit
from gahbench.runs.protocol import SOCKET_CLOSED, decode
from gahbench.store.leases import unique_name

#: Seconds for which a worker may send nothing while it uses no processor. Code outside Python may keep it from sending
#: for as long as it computes.
SILENT_SECONDS = environment_seconds("GAHBENCH_SILENT_SECONDS", 120.0)
#: Seconds between two looks at how much processor time a worker has used.
_LOOK_SECONDS = 1.0
#: A supervisor that was itself suspended for longer than this does not count that time.
_MAX_TURN = 5.0
#: Bytes of a worker's output that are kept with a failure.
_MAX_OUTPUT = 4000
#: Bytes that are read at once, and how often in a turn: a plugin may write endlessly.
_READ, _READS = 1 << 16, 64
#: Bytes of a line that are kept until its end arrives.
_MAX_UNREAD = 1 << 24
#: Seconds for which a message may take to be sent.
_SEND_SECONDS = 5.0


class Child:
    """A module that runs in a process and a process group of its own, and answers through a socket."""

    def __init__(self, module: str, output: int, arguments: Sequence[str], variables: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno()), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs.fileno(),),
                env=variables,
                # Ctrl-C reaches the parent alone, which then lets workers write their checkpoints.
                start_new_session=True,
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
        # A child that does not read must not hold up the parent for long.
        self._socket.settimeout(_SEND_SECONDS)
        self._unread, self._is_open = bytearray(), True

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; the end of a process that is gone is noticed by its exit status."""
        with contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message, default=str).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that have arrived; other lines are dropped."""
        messages: list[dict[str, Any]] = []
        for _ in range(_READS):
            if not (self._is_open and wait([self._socket], 0)):
                break
            try:
                data = self._socket.recv(_READ)
            except ConnectionError:
                data = b""
            self._is_open = bool(data)
            self._unread += data
            if b"\n" in data:
                *lines, self._unread = self._unread.split(b"\n")
                messages += [message for line in lines if (message := decode(line, self.process.pid)) is not None]
            # Drop what a plugin wrote: no message is as long.
            del self._unread[:-_MAX_UNREAD]
        return messages

    def ending(self) -> str:
        """Return how the process ended: ``exited with status 1``."""
        status = self.process.wait()
        if status < 0:
            name = signal_name(-status)
            return f"was ended by {name}{' (the system does that when memory runs out)' * (name == 'SIGKILL')}"
        return f"exited with status {status}{', since its socket was closed in it' * (status == SOCKET_CLOSED)}"

    def kill(self) -> None:
        """Kill the process and its group, and release it."""
        if self._socket.fileno() >= 0:
            kill_group(self.process.pid)
            self.process.wait()
            self._socket.close()
            self._is_open = False


def wait_for_any(children: Iterable[Child], seconds: float) -> None:
    """Wait until a child has sent something or closed its socket, for some seconds at most."""
    wait([child._socket for child in children if child._is_open], seconds)


class WorkerChild(Child):
    """A worker process (:mod:`gahbench.runs.worker_process`) for units of one isolation key, and its present unit."""

    def __init__(self, place: int, job: Job, limits: Mapping[str, str], key: str, now: float) -> None:
        self.place, self.key = place, key
        self.unit: Unit | None = None
        self.last: Unit | None = None
        self.is_ready = False
        self._limits = job.limits
        self._began: float | None = None
        self._constructing, self._constructing_since = "", now
        self._alive = self._looked = now
        self._ticks = 0
        logs = job.store.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self._log = logs / f"worker-{unique_name()}.log"
        arguments = [str(job.store.folder), str(job.threads), job.device]
        with self._log.open("ab") as log:
            super().__init__("gahbench.runs.worker_process", log.fileno(), arguments, environment(job.threads, limits))

    def give(self, unit: Unit, files: Iterable[Path], packages: Iterable[str], now: float) -> None:
        """Have it do a unit with plugin files and packages, now or as soon as it is ready."""
        self.unit = self.last = unit
        self._began = now if self.is_ready else None
        self.send({"unit": unit.record(), "files": [str(file) for file in files], "packages": list(packages)})

    def take_back(self) -> None:
        """Forget its unit, which has ended."""
        self.unit, self._began, self._constructing = None, None, ""

    def observe(self, message: Mapping[str, Any], now: float) -> None:
        """Update the state of the process from a message."""
        self._alive = now
        if message["event"] == "ready":
            self.is_ready = True
            self._began = None if self.unit is None else now
        elif message["event"] == "constructing":
            self._constructing, self._constructing_since = message["what"], now

    def exceeded_limit(self, now: float) -> str | None:
        """Return which limit of the suite its unit has exceeded, in words; ``None`` for none."""
        limits = self._limits
        if self._constructing and now - self._constructing_since > limits.construction:
            return (
                f"importing or constructing {self._constructing} took longer than {duration(limits.construction)}; "
                "'limits: {construction: SECONDS}' grants more"
            )
        if limits.unit is not None and self._began is not None and now - self._began > limits.unit:
            return f"took longer than {duration(limits.unit)}, the limit of a unit in this suite"
        return None

    def is_silent(self, now: float) -> bool:
        """Whether it has neither sent a message nor used the processor for too long."""
        if now - self._looked > _LOOK_SECONDS:
            self._looked, ticks = now, processor_ticks(self.process.pid)
            # If the system reports no processor time, the worker may be computing.
            if ticks is None or ticks != self._ticks:
                self._ticks, self._alive = ticks or 0, now
        return now - self._alive > SILENT_SECONDS

    def output(self) -> str:
        """Return the end of its output."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _MAX_OUTPUT))
                return log.read(_MAX_OUTPUT).decode("utf-8", errors="replace")
        except OSError:
            return ""

    def kill(self) -> None:
        """Kill the process and its group, and release it; an empty log is removed."""
        super().kill()
        with contextlib.suppress(OSError):
            if not self._log.stat().st_size:
                self._log.unlink()


class AwakeClock:
    """A clock of the seconds in which this process ran, without times for which it or the machine was suspended."""

    def __init__(self) -> None:
        self.now = 0.0
        self._last = time.monotonic()

    def tick(self) -> float:
        """Go on to the present, and return it; to be called in every turn."""
        last, self._last = self._last, time.monotonic()
        self.now += min(self._last - last, _MAX_TURN)
        return self.now


def environment(threads: int, limits: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of a worker process, with its share of the machine."""
    variables = python_environment()
    cache = Path(variables.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gahbench" / "compiled"
    defaults = {"TORCHINDUCTOR_CACHE_DIR": str(cache), "TORCHINDUCTOR_FX_GRAPH_CACHE": "1", "PYTHONFAULTHANDLER": "1"}
    return {**defaults, **variables, **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)), **limits}
