"""Processes: their processors and memory, a cache with a limit, and how new processes start and end."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import multiprocessing
import os
import platform
import signal
import sys
import threading
import types
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Generic, TypeVar

#: The quota and period of processor time of a container (cgroup version 2).
CONTAINER = Path("/sys/fs/cgroup/cpu.max")
T = TypeVar("T")
#: Errors that are raised on systems without a glibc function or, on Windows, without a default library.
_NOT_FOUND = (OSError, AttributeError, TypeError)


def cpu_count() -> int:
    """Return the number of processors that affinity, a container and Slurm allow this process to use."""
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    with contextlib.suppress(OSError, ValueError):  # There is no such file outside containers, or no limit in it.
        quota, period = map(int, CONTAINER.read_text().split())
        limits.append(quota // period)
    # Even if Slurm does not confine tasks, it states the allocation of this task.
    allocation = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE", "")
    if "SLURM_JOB_ID" in os.environ and allocation.isdecimal():
        limits.append(int(allocation))
    return max(1, min(limits))


@functools.cache
def processor_name() -> str:
    """Return the model name of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def trim_heap() -> None:
    """Return freed memory to the system, if the C library supports this."""
    with contextlib.suppress(*_NOT_FOUND):
        ctypes.CDLL(None).malloc_trim(0)


def keep_freed_blocks() -> None:
    """Let glibc keep freed blocks of up to 32 MiB for reuse, at most 64 MiB per thread."""
    with contextlib.suppress(*_NOT_FOUND):
        library = ctypes.CDLL(None)
        library.mallopt(-1, 64 << 20)  # M_TRIM_THRESHOLD of malloc.h
        library.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD


class LRUCache(Generic[T]):
    """An LRU cache with a limit in bytes. The most recent result is kept even if it alone exceeds the limit."""

    def __init__(self, limit: int, bytes_of: Callable[[T], int]) -> None:
        self._limit = limit
        self._bytes_of = bytes_of
        self._results: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the cached result of a key, or compute it with ``compute``."""
        if key not in self._results:
            self._results[key] = compute()
            while len(self._results) > 1 and sum(map(self._bytes_of, self._results.values())) > self._limit:
                self._results.popitem(last=False)
        self._results.move_to_end(key)
        return self._results[key]


def kill_group(pid: int) -> None:
    """Kill all processes in the process group of a leader, even if the leader has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


#: How processes start by default: from a server that has imported torch, where the system can fork.
START = "forkserver" if sys.platform == "linux" else "spawn"
_LOCK = threading.Lock()


def start_process(function: Callable[..., None], arguments: tuple[Any, ...], start: str | None = None) -> Any:
    """Start a function in a new process, which is not a daemon, by ``forkserver`` or ``spawn``."""
    context: Any = multiprocessing.get_context(start or START)
    process = context.Process(target=function, args=arguments, daemon=False)
    with _starting():
        process.start()
    return process


def start_server() -> None:
    """Start the server that forks processes, if the system has one; it imports packages while this process goes on."""
    if START == "forkserver":
        with _starting():
            forkserver.ensure_running()


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Let the fork server, which starts with the first process, import the same packages as this process."""
    variables = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    with _LOCK:
        before, script = {name: os.environ[name] for name in variables if name in os.environ}, sys.modules["__main__"]
        os.environ.update(variables)
        # The script of this process may have no guard against being imported by a new process.
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            forkserver.set_forkserver_preload(["gahbench.runs.preloaded"])
            yield
        finally:
            sys.modules["__main__"] = script
            for name in variables:
                del os.environ[name]
            os.environ.update(before)


def detach(output: str | os.PathLike[str]) -> None:
    """Give this new process a session of its own, and append its output to a file."""
    with contextlib.suppress(OSError, AttributeError):  # Windows has no sessions.
        os.setsid()
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
