"""The handle of one worker process (:mod:`gahbench.runs.worker_process`)."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from gahbench._util.resources import python_environment
from gahbench.contracts.jobs import Job
from gahbench.contracts.unit import Unit
from gahbench.store.holder import own_name

#: How much of what a worker wrote before its death is kept with a failure, in characters.
_WRITTEN = 4000


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
        Gets (child, message) for each of its messages, and (child, None) at its end.
    """

    def __init__(self, place: int, job: Job, gpu: str | None, inbox: queue.Queue[Any]) -> None:
        self.place = place
        self.unit: Unit | None = None
        self.last: Unit | None = None
        self.is_ready = False
        logs = job.store.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.log = logs / f"worker-{own_name()}.log"
        command = [sys.executable, "-P", "-m", "gahbench.runs.worker_process"]
        command += ["--folder", str(job.store.folder), "--threads", str(job.threads), "--device", job.device]
        for source in job.sources:
            command += ["--source", str(source)]
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(job.threads, gpu),
                # Ctrl-C must reach the supervisor alone, which then lets workers write their checkpoints.
                start_new_session=True,
            )
        threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()

    def give(self, unit: Unit) -> None:
        """Have it do a unit."""
        self.unit = self.last = unit
        self.send({"unit": unit.record()})

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; a worker that is gone will be noticed by its silence."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message, default=str) + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, OSError):
            pass  # Its end of output, which _listen reports, says the same.

    def kill(self) -> None:
        """End the process if it runs, and release it; a log without a word is removed."""
        self._kill_group()
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(OSError):
            if not self.log.stat().st_size:
                self.log.unlink()

    def end_helpers(self) -> None:
        """End what a plugin may have started, if the worker has ended: it would keep its output open."""
        if self.process.poll() is not None:
            self._kill_group()

    def death(self) -> tuple[str, str]:
        """Return how the worker ended, in a line, and the end of what it wrote."""
        status = self.process.wait()
        try:
            written = self.log.read_text(encoding="utf-8", errors="replace")[-_WRITTEN:]
        except OSError:
            written = ""
        if status < 0:
            name = signal.Signals(-status).name
            hint = " (the system does that when memory runs out)" if name == "SIGKILL" else ""
            return f"the worker process was ended by {name}{hint}", written
        return f"the worker process exited with status {status}", written

    def _kill_group(self) -> None:
        # The worker leads a session of its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _listen(self, inbox: queue.Queue[Any]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                inbox.put((self, json.loads(line)))
            except ValueError:
                continue  # A line cut off by the worker's death.
        self.process.stdout.close()
        inbox.put((self, None))


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
