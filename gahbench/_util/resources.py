"""Processors, memory and settings of processes, and the environment of the processes that they start."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from gahbench._util.errors import ParameterError

#: Parameters of ``mallopt`` in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
#: Where there is no such function, or as on Windows no library without a name.
_NOT_FOUND = (OSError, AttributeError, TypeError)


def cpu_count() -> int:
    """Return how many processors this process may use: by its affinity, control groups and Slurm task."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min([count, *(max(1, int(quota)) for quota in _cpu_quotas())])
    # Where Slurm does not confine tasks, it still says what this one was given.
    given = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE")
    return min(count, max(1, int(given))) if given and given.isdecimal() and "SLURM_JOB_ID" in os.environ else count


@functools.lru_cache
def processor_name() -> str:
    """Return the model of the processor, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cpu_quotas(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Iterator[float]:
    """Yield the processors that control groups, of either version, grant to this process: its own and all above."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return  # Not a system with control groups.
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root if not controllers else root / "cpu"
        path = top / group.lstrip("/")
        for folder in (path, *path.parents):
            try:
                if controllers:
                    quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
                else:
                    quota, period = (folder / "cpu.max").read_text().split()
                if float(quota) > 0:
                    yield float(quota) / float(period)
            except (OSError, ValueError):
                pass  # No limit, or no such file at the top.
            if folder == top:
                break


def python_environment() -> dict[str, str]:
    """Return environment variables with which another Python process imports the same modules as this one."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}


def trim_heap() -> None:
    """Return freed memory to the system, where the C library supports it."""
    import ctypes

    with contextlib.suppress(*_NOT_FOUND):
        ctypes.CDLL(None).malloc_trim(0)


def keep_freed_blocks() -> None:
    """Have the C library, if it is glibc, keep freed blocks of up to 32 MiB for reuse: 64 MiB a thread."""
    import ctypes

    with contextlib.suppress(*_NOT_FOUND):
        library = ctypes.CDLL(None)
        for parameter, value in ((_TRIM_THRESHOLD, 64 << 20), (_MMAP_THRESHOLD, 32 << 20)):
            library.mallopt(parameter, value)


def environment_seconds(name: str, default: float) -> float:
    """Return the seconds that an environment variable sets."""
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise ParameterError(f"{name}={text}: expected a number of seconds above 0, such as {default:g}")
    return value


def stat_fields(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/PID/stat`` from the state on; ``None`` if there is none."""
    try:
        # The name of the program, in brackets, may hold anything.
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()
    except OSError:
        return None


def processor_ticks(pid: int) -> int | None:
    """Return how many ticks of processor time a process has used; ``None`` if the system does not say."""
    fields = stat_fields(pid)
    return None if fields is None else int(fields[11]) + int(fields[12])


def signal_name(number: int) -> str:
    """Return the name of a signal, or its number if it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def kill_group(pid: int) -> None:
    """Kill all processes of the group that a process leads, or led if it has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
