"""Processes of this machine: their state, and ending one with all that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Rounds of looking for processes that have been started meanwhile.
_ROUNDS = 20


@dataclass(frozen=True)
class ProcessFacts:
    """What the system says of a process.

    Parameters
    ----------
    parent
        Number of the process that it belongs to.
    state
        A letter: ``T`` for one that a signal has stopped, ``Z`` for one that has ended.
    ticks
        Processor time that it has used, in ticks of the system.
    """

    parent: int
    state: str
    ticks: int


def process_facts(pid: int) -> ProcessFacts | None:
    """Return what the system says of a process; ``None`` if it is gone, or on a system without ``/proc``."""
    try:
        # The name of the program, in brackets, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return ProcessFacts(int(fields[1]), fields[0].decode(), int(fields[11]) + int(fields[12]))


def signal_name(number: int) -> str:
    """Return the name of a signal; some have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def end_tree(pid: int, mark: str) -> None:
    """End a process that leads a group, and all that it has started: those that have left its group, too.

    Only one that has left its group, its parent and its environment is not found.

    Parameters
    ----------
    pid
        The process, which may have ended already.
    mark
        ``NAME=VALUE`` of an environment variable that it, and no other, was given; processes inherit it.
    """
    found = _descendants(pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for _ in range(_ROUNDS):
        for one in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(one, signal.SIGKILL)
        # Some may have been started while others were ended.
        found = _marked(mark.encode()) - {pid}
        if not found:
            return
        time.sleep(0.005)


def _descendants(pid: int) -> set[int]:
    parents = {one: facts.parent for one in _numbers() if (facts := process_facts(one)) and facts.state not in "ZX"}
    found, above = set[int](), {pid}
    while above:
        above = {one for one, parent in parents.items() if parent in above}
        found |= above
    return found


def _marked(mark: bytes) -> set[int]:
    found = set()
    for pid in _numbers():
        try:
            # Empty for one that has ended.
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue  # It is gone, or another user's.
        if mark in environment.split(b"\0"):
            found.add(pid)
    return found


def _numbers() -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208, no other way is as fast
