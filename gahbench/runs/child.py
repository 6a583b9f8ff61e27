"""The handle of one worker process (:mod:`gahbench.runs.worker_process`)."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gahbench._util.processes import end_tree, signal_name
from gahbench._util.resources import python_environment
from gahbench.contracts.jobs import Job
from gahbench.contracts.unit import Unit
from gahbench.runs.isolation import Code
from gahbench.runs.protocol import MAX_LINE, REPORTS_CLOSED, decode
from gahbench.runs.watchdog import Watchdog
from gahbench.store.holder import own_name

#: How much of what a worker wrote before its death is kept with a failure, in bytes.
_WRITTEN = 4000
#: Seconds between two looks whether a worker whose pipe is silent still runs.
_LOOK_SECONDS = 0.2
#: Seconds for which a pipe is read once its process has ended, and for which a process may go on once its pipe has.
_LAST_SECONDS = 2.0
#: The environment variable by which all that a worker starts is found.
_MARK = "GAHBENCH_WORKER"


class Child:
    """One worker process.

    Parameters
    ----------
    place
        Its number among the workers of this machine.
    job
        The job.
    gpu
        The one GPU that it may use; ``None`` leaves that open.
    inbox
        Gets (child, message) for each of its messages, ``{}`` once if its pipe has held something else, and (child,
        None) at its end.
    now
        The time, by the clock of its watchdog.
    """

    def __init__(self, place: int, job: Job, gpu: str | None, inbox: queue.Queue[Any], now: float) -> None:
        self.place = place
        self.unit: Unit | None = None
        self.last: Unit | None = None
        #: The isolation key of the units that it does; ``None`` for a new one, which may do any.
        self.key: str | None = None
        self.is_ready = False
        logs = job.store.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.log = logs / f"worker-{own_name()}.log"
        self._mark = secrets.token_hex(8)
        self._secret = secrets.token_hex(16)
        commands, self._commands = os.pipe()
        self._reports, reports = os.pipe()
        try:
            self.process = self._start(job, gpu, commands, reports)
        except BaseException:
            os.close(self._commands)
            os.close(self._reports)
            raise
        finally:
            os.close(commands)
            os.close(reports)
        self.watchdog = Watchdog(self.process.pid, job.limits, now)
        # A worker that does not read must not hold up the others.
        os.set_blocking(self._commands, False)
        self._unsent = b""
        self.send({"secret": self._secret})
        threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()

    def give(self, unit: Unit, key: str, code: Code, now: float) -> None:
        """Have it do a unit, now or as soon as it is ready."""
        self.unit = self.last = unit
        self.key = key
        if self.is_ready:
            self.watchdog.began = now
        packages = None if code.packages is None else list(code.packages)
        self.send({"unit": unit.record(), "files": [str(file) for file in code.files], "packages": packages})

    def take_back(self) -> None:
        """Forget its unit, which has ended."""
        self.unit = self.watchdog.began = self.watchdog.constructing = None

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; a worker that is gone will be noticed by its end."""
        self._unsent += json.dumps(message, default=str).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what the pipe had no room for before."""
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._commands, self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = b""

    def kill(self) -> None:
        """End the process and all that it has started, and release it; a log without a word is removed."""
        if self._commands < 0:
            return  # It was before.
        end_tree(self.process.pid, f"{_MARK}={self._mark}")
        self.process.wait()
        os.close(self._commands)
        self._commands, self._unsent = -1, b""
        with contextlib.suppress(OSError):
            if not self.log.stat().st_size:
                self.log.unlink()

    def death(self) -> str:
        """Return how the worker ended, in a line; it is given a moment to do so."""
        try:
            status = self.process.wait(_LAST_SECONDS)
        except subprocess.TimeoutExpired:
            return "the worker process closed the pipe of its reports"
        if status < 0:
            name = signal_name(-status)
            hint = " (the system does that when memory runs out)" if name == "SIGKILL" else ""
            return f"the worker process was ended by {name}{hint}"
        closed = ", since the pipe of its reports was closed in it" if status == REPORTS_CLOSED else ""
        return f"the worker process exited with status {status}{closed}"

    def written(self) -> str:
        """Return the end of what it wrote."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _WRITTEN))
                return log.read(_WRITTEN).decode("utf-8", errors="replace")
        except OSError:
            return ""

    def _start(self, job: Job, gpu: str | None, commands: int, reports: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "gahbench.runs.worker_process"]
        command += ["--folder", str(job.store.folder), "--threads", str(job.threads), "--device", job.device]
        command += ["--commands", str(commands), "--reports", str(reports)]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(commands, reports),
                env={**environment(job.threads, gpu), _MARK: self._mark},
                # Ctrl-C must reach the supervisor alone, which then lets workers write their checkpoints.
                start_new_session=True,
            )

    def _listen(self, inbox: queue.Queue[Any]) -> None:
        is_disturbed = False
        try:
            for line in self._lines():
                if not line.strip():
                    continue
                message = decode(line, self._secret, self.process.pid)
                if message is not None:
                    inbox.put((self, message))
                elif not is_disturbed:
                    is_disturbed = True
                    inbox.put((self, {}))
        finally:
            os.close(self._reports)
            # Whatever has happened, nobody waits for this worker.
            inbox.put((self, None))

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines in its pipe, until that is closed or the process has ended: helpers may keep it open."""
        poll = select.poll()
        poll.register(self._reports, select.POLLIN)
        rest, ended = b"", None
        while True:
            is_readable = bool(poll.poll(1000 * _LOOK_SECONDS))
            if ended is None and self.process.poll() is not None:
                ended = time.monotonic()
            elif ended is not None and (not is_readable or time.monotonic() - ended > _LAST_SECONDS):
                return
            if is_readable:
                data = os.read(self._reports, 1 << 16)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                yield from lines
                # Nothing that a worker says is so long.
                rest = rest[:MAX_LINE]


def environment(threads: int, gpu: str | None) -> dict[str, str]:
    """Return the environment variables of a worker process: those of this one, and how it shares the machine."""
    variables = python_environment()
    variables["OMP_NUM_THREADS"] = variables["MKL_NUM_THREADS"] = str(threads)
    cache = Path(variables.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gahbench" / "compiled"
    variables.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    variables.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
    variables.setdefault("PYTHONFAULTHANDLER", "1")
    if gpu is not None:
        variables["CUDA_VISIBLE_DEVICES"] = gpu
    return variables
