"""The processors that this process may use, and the environment of those it starts."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

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
