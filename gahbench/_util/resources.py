"""Processes: their processors, memory, environment and signals, and the start of new ones."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import platform
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from gahbench._util.errors import ParameterError

#: Parameters of ``mallopt`` in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
#: Errors that are raised on systems without a glibc function or, on Windows, without a default library.
_NOT_FOUND = (OSError, AttributeError, TypeError)


def cpu_count() -> int:
    """Return the number of processors that affinity, control groups and Slurm allow this process to use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [count, *map(int, _cpu_quotas())]
    # Even if Slurm does not confine tasks, it states the allocation of this task.
    allocation = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE", "")
    if "SLURM_JOB_ID" in os.environ and allocation.isdecimal():
        limits.append(int(allocation))
    return max(1, min(limits))


@functools.lru_cache
def processor_name() -> str:
    """Return the model name of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cpu_quotas(root: Path = Path("/sys/fs/cgroup"), group_file: Path = Path("/proc/self/cgroup")) -> Iterator[float]:
    """Yield the CPU quotas of this process's control group and its ancestors (cgroup version 2)."""
    try:
        group = group_file.read_text().partition("0::/")[2].strip()
    except OSError:
        return  # The system has no control groups.
    for folder in (root / group, *(root / group).parents):
        with contextlib.suppress(OSError, ValueError):  # There may be no limit, and no such file at the root.
            quota, period = map(float, (folder / "cpu.max").read_text().split())
            yield quota / period


def trim_heap() -> None:
    """Return freed memory to the system, if the C library supports this."""
    import ctypes

    with contextlib.suppress(*_NOT_FOUND):
        ctypes.CDLL(None).malloc_trim(0)


def keep_freed_blocks() -> None:
    """Let glibc keep freed blocks of up to 32 MiB for reuse, at most 64 MiB per thread."""
    import ctypes

    with contextlib.suppress(*_NOT_FOUND):
        library = ctypes.CDLL(None)
        for parameter, value in ((_TRIM_THRESHOLD, 64 << 20), (_MMAP_THRESHOLD, 32 << 20)):
            library.mallopt(parameter, value)


def environment_seconds(name: str, default: float) -> float:
    """Return the number of seconds in an environment variable, or the default."""
    try:
        return float(os.environ.get(name, default))
    except ValueError as error:
        raise ParameterError(
            f"{name}={os.environ[name]}; accepted: a number of seconds, such as {default:g}"
        ) from error


def signal_name(number: int) -> str:
    """Return the name of a signal, or its number if it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


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
    if START == "forkserver":
        context.set_forkserver_preload(["gahbench.runs.preloaded"])
    process = context.Process(target=function, args=arguments, daemon=False)
    # The fork server, which starts with the first process, imports the same packages as this process.
    variables = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    # The script that this process runs may have no guard against being imported by a new process.
    main = {"__main__": types.ModuleType("__main__")}
    with _LOCK, _replaced(os.environ, variables), _replaced(sys.modules, main):
        process.start()
    return process


@contextlib.contextmanager
def _replaced(mapping: MutableMapping[str, Any], values: Mapping[str, Any]) -> Iterator[None]:
    """Replace values of a mapping within a context."""
    before = {name: mapping[name] for name in values if name in mapping}
    mapping.update(values)
    try:
        yield
    finally:
        for name in values.keys() - before.keys():
            del mapping[name]
        mapping.update(before)


def detach(output: str | os.PathLike[str]) -> None:
    """Give this new process a session of its own, and append its output to a file."""
    with contextlib.suppress(OSError, AttributeError):  # Windows has no sessions.
        os.setsid()
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
