"""The processors that this process may use, and the environment of those it starts."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

#: Parameters of ``mallopt`` in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
#: Where there is no such function, or as on Windows no library without a name.
_NOT_TOLD = (OSError, AttributeError, TypeError)


def cpu_count() -> int:
    """Return how many processors this process may use: its affinity, and the quota of its control group."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # No control group limits us.
    return count


def python_environment() -> dict[str, str]:
    """Return environment variables with which another Python process imports the same modules as this one."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}


def gpu_names() -> list[str]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(place) for place in range(count)]
    return names[:count]


def release_memory() -> None:
    """Return freed memory to the system, where the C library supports it.

    Between units that leave gigabytes of matrices behind, it halves the memory of a worker.
    """
    import ctypes

    with contextlib.suppress(*_NOT_TOLD):
        ctypes.CDLL(None).malloc_trim(0)


def keep_freed_blocks() -> None:
    """Have the C library, if it is glibc, keep freed blocks of up to 32 MiB for reuse: 64 MiB a thread.

    By default it may return them to the system after every layer of a network and get them back as pages that have to
    be cleared: a fifth of the time of a small network. It holds for all of the process, until it ends;
    :func:`release_memory` still returns memory that the main thread has freed.
    """
    import ctypes

    with contextlib.suppress(*_NOT_TOLD):
        library = ctypes.CDLL(None)
        for parameter, value in ((_TRIM_THRESHOLD, 64 << 20), (_MMAP_THRESHOLD, 32 << 20)):
            library.mallopt(parameter, value)
