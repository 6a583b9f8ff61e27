"""A Dask cluster on the loopback interface, with a scheduler, and workers with nannies."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

#: Seconds without a heartbeat after which the scheduler gives a worker up. A busy machine delays heartbeats by
#: seconds, so that only tests of workers that do not answer ask for fewer.
PATIENT = 30


class Cluster:
    """A scheduler and its workers, each of which has a nanny that restarts it."""

    def __init__(self, home: Path, patience: int = PATIENT) -> None:
        self.home = home
        self.environment = {
            **os.environ,
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{patience}s",
            "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": f"{patience}s",
            "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": f"{3 * patience}s",
        }
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.start_scheduler()

    def _start(self, name: str, *arguments: str) -> None:
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *arguments, "--no-dashboard"],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def start_scheduler(self) -> None:
        """Start the scheduler, always at the same address."""
        self._start("scheduler", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port))

    def start_worker(self, name: str) -> None:
        """Start a worker with a thread and a nanny."""
        folder = self.home / name
        options = ["--host", "127.0.0.1", "--nthreads", "1", "--name", name, "--local-directory", str(folder)]
        self._start(name, "distributed.cli.dask_worker", self.address, *options)

    def children(self, name: str) -> list[int]:
        """Return the worker processes of a nanny."""
        listed = subprocess.run(
            ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(self.processes[name].pid)], capture_output=True, text=True
        ).stdout
        return [int(line.split()[0]) for line in listed.splitlines() if "resource_tracker" not in line]

    def started(self, name: str) -> list[int]:
        """Return the processes that the worker processes of a nanny, and their descendants, have started."""
        return [pid for worker in self.children(name) for pid in _descendants(worker)]

    def kill(self, name: str) -> None:
        """Kill the scheduler or a nanny."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Kill all processes, including suspended processes."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self.processes.values():
            process.wait()


def _descendants(pid: int) -> Iterator[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    for child in map(int, listed.split()):
        yield child
        yield from _descendants(child)


@contextlib.contextmanager
def cluster(home: Path, patience: int = PATIENT) -> Iterator[Cluster]:
    """Run a cluster with two workers, ``w0`` and ``w1``, whose files are in a folder."""
    running = Cluster(home, patience)
    try:
        for name in ("w0", "w1"):
            running.start_worker(name)
        yield running
    finally:
        running.stop()
