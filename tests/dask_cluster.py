"""A Dask cluster on loopback, for tests: a scheduler, and workers with nannies."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

#: What takes minutes in earnest.
SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "4s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",
}


class Cluster:
    """A scheduler and its workers, each with a nanny that restarts it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.start_scheduler()

    def _start(self, name: str, *arguments: str) -> None:
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *arguments, "--no-dashboard"],
                env={**os.environ, **SETTINGS},
                stdout=log,
                stderr=log,
            )

    def start_scheduler(self) -> None:
        """Start the scheduler, at the same address each time."""
        self._start("scheduler", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port))

    def start_worker(self, name: str) -> None:
        """Start a worker of one thread, with a nanny."""
        folder = self.home / name
        options = ["--host", "127.0.0.1", "--nthreads", "1", "--name", name, "--local-directory", str(folder)]
        self._start(name, "distributed.cli.dask_worker", self.address, *options)

    def children(self, name: str) -> list[int]:
        """Return the worker processes of a nanny."""
        found = subprocess.run(
            ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(self.processes[name].pid)], capture_output=True, text=True
        ).stdout
        return [int(line.split()[0]) for line in found.splitlines() if "resource_tracker" not in line]

    def freeze(self, name: str) -> list[int]:
        """Stop a nanny and all below it, as if their machine did not answer; return their processes."""
        pids = [self.processes[name].pid, *_descendants(self.processes[name].pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    def kill(self, name: str) -> None:
        """End the scheduler or a nanny at once."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End everything, frozen or not."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self.processes.values():
            process.wait()


def _descendants(pid: int) -> Iterator[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    for child in map(int, found.split()):
        yield child
        yield from _descendants(child)


@contextlib.contextmanager
def cluster(home: Path) -> Iterator[Cluster]:
    """Run a cluster of two workers, ``w0`` and ``w1``, with its files in a folder."""
    one = Cluster(home)
    try:
        for name in ("w0", "w1"):
            one.start_worker(name)
        yield one
    finally:
        one.stop()
