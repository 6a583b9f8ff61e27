"""Who holds a claim: a process of a machine, and whether it still runs."""

from __future__ import annotations

import os
import re
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gahbench._util.processes import stat_fields


def own_name() -> str:
    """Return a name that no other attempt, file or claim has: host, process and a random number."""
    host = re.sub(r"[^A-Za-z0-9.]", "", socket.gethostname())[:40] or "host"
    node = os.environ.get("SLURMD_NODENAME", "")
    return "-".join(part for part in (host, node, str(os.getpid()), uuid.uuid4().hex[:8]) if part)


def own_record() -> dict[str, Any]:
    """Return this process as claims record it: plain JSON."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "born": _born(os.getpid()),
        "machine": _machine(),
        "user": _user(),
        "job": os.environ.get("SLURM_JOB_ID"),
    }


def has_ended(record: Mapping[str, Any]) -> bool:
    """Whether a process is known to have ended: it was one of this machine, and does not run any more."""
    machine, pid = record.get("machine"), record.get("pid")
    if machine is None or machine != _machine() or not isinstance(pid, int):
        return False
    if _user() not in (0, record.get("user")):
        return False  # Some systems hide the processes of other users.
    born = _born(pid)
    return born is None or born != record.get("born")


def _machine() -> str | None:
    """Return a name of this machine since it was started, and of the process numbers seen here; None if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _user() -> int | None:
    return os.getuid() if hasattr(os, "getuid") else None


def _born(pid: int) -> str | None:
    """Return when a process was started, in ticks since the machine was; ``None`` if it does not run."""
    fields = stat_fields(pid)
    return None if fields is None or fields[0] in "ZX" else fields[19]
