"""What the engine ``dask`` runs on a worker of Dask: a command in a process of its own, ended with the worker."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gahbench import hardware
from gahbench._util.resources import cpu_count

#: Ends the command, which then writes checkpoints, once its own standard input is closed: so it does not outlive the
#: worker, however that ends.
_SUPERVISOR = """
import os, subprocess, sys, threading
work = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: (os.read(0, 1), work.terminate()), daemon=True).start()
status = work.wait()
os._exit(status if status >= 0 else 128 - status)
"""

#: By token of a run: its processes on this worker, or nothing any more once the run is stopped.
_processes: dict[str, list[subprocess.Popen[bytes]] | None] = {}


def run_work(arguments: Sequence[str], threads: int, folder: Path, token: str) -> tuple[int, Path]:
    """Run ``gahbench work`` by this worker's Python until it ends, or the worker does."""
    from distributed import get_worker
    from distributed.core import Status

    worker = get_worker()
    if not hardware().is_accelerator:
        # Other workers of Dask may be on this machine.
        arguments = [*arguments, "--workers", str(max(1, min(worker.state.nthreads, cpu_count()) // threads))]
    log = folder / f"dask-{worker.address.rpartition('/')[2].replace(':', '-')}.log"
    command = [sys.executable, "-c", _SUPERVISOR, sys.executable, *arguments]
    with log.open("ab") as out:
        if _processes.setdefault(token, []) is None:
            return 130, log
        # Ctrl-C at the terminal of a local cluster is for those who started it.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True)
    processes = _processes[token]
    if processes is None:
        _end(process)
    else:
        processes.append(process)
    while process.poll() is None:
        if worker.status not in (Status.running, Status.paused):
            _end(process)
        time.sleep(0.5)
    _end(process)
    return process.returncode, log


def stop(token: str) -> None:
    """Ask the processes of a run on this worker to end, and start no other."""
    processes, _processes[token] = _processes.get(token), None
    for process in processes or []:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
