"""Checkpoints within a fit: when, and written so that a cut leaves the last whole one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from gahbench._util.files import temporary_name
from gahbench._util.seconds import environment_seconds

#: The share of a fit's time that writing its checkpoints may take.
SHARE = 0.02
#: Seconds from one checkpoint to the next: at least, and at most as far as the share allows.
MIN_PAUSE = environment_seconds("GAHBENCH_CHECKPOINT_SECONDS", 5.0)
MAX_PAUSE = 300.0
#: Is in the message of torch where memory is short.
_ALLOCATOR = "DefaultCPUAllocator"


class Pace:
    """When the next checkpoint is due, by how long the earlier ones took to write.

    Parameters
    ----------
    now
        The time at which the fit starts, in seconds on any clock.
    """

    def __init__(self, now: float) -> None:
        self._started = now
        self._written = 0.0
        self._due = now + MIN_PAUSE

    def due(self, now: float) -> bool:
        """Whether it is time for a checkpoint."""
        return now >= self._due

    def wrote(self, began: float, ended: float) -> None:
        """Note when a checkpoint was begun and when it was written."""
        self._written += ended - began
        self._due = ended + pause(ended - began, self._written, ended - self._started)


def pause(write: float, written: float, elapsed: float) -> float:
    """Return for how many seconds not to write another checkpoint.

    Such that writing takes at most ``SHARE`` from this checkpoint to the next; but at most ``MAX_PAUSE`` if it takes no
    more than ``SHARE`` of all the fit: one write that was slow by chance must not keep a long fit from the next.

    Parameters
    ----------
    write
        How long the last one took to write.
    written
        How long all of them took.
    elapsed
        How long the fit runs.
    """
    affordable = written / SHARE - elapsed
    return max(MIN_PAUSE, min(write / SHARE, MAX_PAUSE), affordable)


def write(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint: to a temporary name, flushed to disk, then renamed."""
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint; ``None`` if there is none, or it is damaged (the fit then starts afresh).

    Raises
    ------
    OSError, MemoryError
        If the system cannot read it now, or has no room for it: it may be whole.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (OSError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, RuntimeError) and _ALLOCATOR in str(error):
            raise MemoryError(str(error)) from error
        # A damaged checkpoint costs time, never the run.
        path.unlink(missing_ok=True)
        return None
    return state if isinstance(state, dict) else None
