"""Leases: who is working on a unit, on any machine that sees the folder.

A lease is a file made by ``os.link``, which succeeds for one process of many. Its holder refreshes the time of the
file; a lease that was not refreshed for a while is taken over by a rename, which again succeeds for one process. Ages
are measured by the clock of the file server, so that the clocks of machines need not agree.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gahbench._util.files import delete_entry, names_in, open_regular, read_regular
from gahbench._util.resources import environment_seconds, stat_fields

#: Seconds after which a lease that was not refreshed is lost.
LEASE_SECONDS = environment_seconds("GAHBENCH_LEASE_SECONDS", 300.0)
#: No lease lasts longer than this without a refresh, whatever it says, in seconds.
_LONGEST = 7 * 86400.0
#: Errors of opening something that is not a file.
_NOT_A_FILE = (errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO)
#: A unit fails when the processes that did it were lost this many times.
MAX_LOSSES = 3
#: Leases are refreshed this many times in their duration.
_BEATS = 10


class LeaseRecord(BaseModel):
    """The content of a lease: its holder, and how often the unit was lost before; empty if it cannot be read."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    host: str = "unknown"
    pid: Annotated[int, Field(ge=0)] | None = None
    born: str | None = None
    machine: str | None = None
    user: Annotated[int, Field(ge=0)] | None = None
    job: str | None = None
    since: float | None = None
    lease: Annotated[float, Field(gt=0, le=_LONGEST)] | None = None
    losses: Annotated[int, Field(ge=0)] = 0
    #: When earlier attempts last wrote a checkpoint, by the file server's clock; 0 if they never did.
    progress: float = 0.0
    #: Distinguishes it from other leases of the unit.
    token: str | None = None
    #: Why the unit was lost with its holder: the lease may be taken over at once.
    lost: str | None = None


@dataclass
class Lease:
    """A lease of this process."""

    name: str
    record: LeaseRecord
    is_lost: bool = False


@dataclass(frozen=True)
class Seen:
    """A lease of any process."""

    name: str
    record: LeaseRecord
    age: float
    is_stale: bool


class Leases:
    """The leases in a results folder."""

    def __init__(self, folder: Path, seconds: float = LEASE_SECONDS) -> None:
        self.folder, self.seconds = folder, seconds
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._beating: threading.Thread | None = None
        self._closed = threading.Event()
        self._clock: tuple[float, float] | None = None

    def names(self) -> set[str]:
        """Return the names of the units that have a lease."""
        return set(names_in(self.folder))

    def seen(self, name: str) -> Seen | None:
        """Return the lease of a unit; ``None`` if there is none any more."""
        try:
            # A file that is opened shows its present state, on network file systems too.
            with open_regular(self.folder / name, follow=False) as handle:
                touched, content = os.fstat(handle.fileno()).st_mtime, handle.read()
        except OSError as error:
            return Seen(name, LeaseRecord(), 0.0, True) if error.errno in _NOT_A_FILE else None
        record = _parsed(content)
        age = self.now() - touched
        # Processes may differ in how often they refresh their leases.
        is_stale = age > (record.lease or self.seconds) or bool(record.lost) or has_ended(record)
        return Seen(name, record, age, is_stale)

    def take(self, name: str, losses: int = 0, progress: float = 0.0) -> Lease | None:
        """Take the lease of a unit that no process has; ``None`` if another process was faster."""
        facts = {"since": self.now(), "lease": min(self.seconds, _LONGEST), "losses": losses, "progress": progress}
        lease = Lease(name, own_record().model_copy(update={**facts, "token": uuid.uuid4().hex}))
        temporary = self._write(lease.record)
        try:
            os.link(temporary, self.folder / name)
        except FileExistsError:
            # A server may have done it, and answered twice.
            if not self._is_own(lease):
                return None
        except OSError:
            # The file system has no links.
            try:
                with (self.folder / name).open("xb") as file:
                    file.write(temporary.read_bytes())
            except FileExistsError:
                return None
        finally:
            temporary.unlink(missing_ok=True)
        with self._lock:
            self._held[name] = lease
            if self._beating is None:
                self._beating = threading.Thread(target=self._keep_alive, daemon=True)
                self._beating.start()
        return lease

    def clear(self, seen: Seen) -> bool:
        """Remove a stale lease; ``False`` if another process was faster."""
        file, aside = self.folder / seen.name, self.folder / f".stale-{uuid.uuid4().hex}"
        try:
            file.rename(aside)
        except OSError:
            return False
        is_same = self._token(aside) == seen.record.token
        if not is_same:
            # Another process cleared it meanwhile, and this is the next lease, which is alive.
            with contextlib.suppress(OSError):
                os.link(aside, file)
        with contextlib.suppress(OSError):
            delete_entry(aside)
        return is_same

    def release(self, lease: Lease) -> None:
        """Give up a lease, if it is still this process's."""
        with self._lock:
            self._held.pop(lease.name, None)
        if self._is_own(lease):
            (self.folder / lease.name).unlink(missing_ok=True)

    def lose(self, lease: Lease, why: str) -> None:
        """Record that the unit was lost with the process that did it: the lease may be taken over at once."""
        with self._lock:
            self._held.pop(lease.name, None)
        if self._is_own(lease):
            self._write(lease.record.model_copy(update={"lost": why})).replace(self.folder / lease.name)

    def sweep(self, finished: Iterable[str], failed: Iterable[str] = ()) -> None:
        """Remove leases of ended units whose holders died, and incomplete files."""
        for name in self.names().intersection(finished):
            delete_entry(self.folder / name)
        for name in self.names().intersection(failed):
            if (seen := self.seen(name)) is not None and seen.is_stale:
                self.clear(seen)
        for file in self.folder.glob(".*"):
            with contextlib.suppress(OSError):
                if self.now() - file.stat().st_mtime > self.seconds:
                    file.unlink()

    def close(self) -> None:
        """Release all leases of this process, and stop refreshing them."""
        self._closed.set()
        for lease in list(self._held.values()):
            self.release(lease)

    def now(self) -> float:
        """Return the time by the file server's clock, in seconds."""
        if self._clock is None or time.monotonic() - self._clock[0] > self.seconds / _BEATS:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                file = self.folder / f".{uuid.uuid4().hex}"
                with file.open("x") as handle:
                    handle.write("?")
                self._clock = (time.monotonic(), file.stat().st_mtime)
                file.unlink(missing_ok=True)
            except OSError:
                # The folder cannot be written: fall back to the clock of this machine.
                self._clock = (time.monotonic(), time.time())
        return self._clock[1] + time.monotonic() - self._clock[0]

    def _write(self, record: LeaseRecord) -> Path:
        """Write a lease under a name of its own."""
        temporary = self.folder / f".{uuid.uuid4().hex}"
        try:
            temporary.write_text(record.model_dump_json(), encoding="utf-8")
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _is_own(self, lease: Lease) -> bool:
        return self._token(self.folder / lease.name) == lease.record.token

    def _token(self, file: Path) -> str | None:
        """Return the token of a lease; ``None`` if there is none."""
        try:
            return _parsed(read_regular(file, follow=False)).token
        except OSError as error:
            if error.errno in _NOT_A_FILE or isinstance(error, FileNotFoundError):
                return None
            raise

    def _keep_alive(self) -> None:
        while not self._closed.wait(self.seconds / _BEATS):
            with self._lock:
                held = list(self._held.values())
                if not held:
                    # The next lease starts it anew.
                    self._beating = None
                    return
            for lease in held:
                try:
                    if self._is_own(lease):
                        os.utime(self.folder / lease.name)
                    else:
                        lease.is_lost = True
                except OSError:
                    continue  # The file server may be back at the next beat.


def _parsed(content: bytes) -> LeaseRecord:
    """Return the record of a lease; an invalid lease has an empty record, and becomes stale with time."""
    try:
        return LeaseRecord.model_validate_json(content)
    except ValueError:
        return LeaseRecord()


def own_name() -> str:
    """Return a name that no other attempt, file or lease has: host, process and a random number."""
    host = re.sub(r"[^A-Za-z0-9.]", "", socket.gethostname())[:40] or "host"
    node = os.environ.get("SLURMD_NODENAME", "")
    return "-".join(part for part in (host, node, str(os.getpid()), uuid.uuid4().hex[:8]) if part)


def own_record() -> LeaseRecord:
    """Return this process as leases record it."""
    return LeaseRecord(
        host=socket.gethostname(),
        pid=os.getpid(),
        born=_born(os.getpid()),
        machine=_machine(),
        user=_user(),
        job=os.environ.get("SLURM_JOB_ID"),
    )


def has_ended(record: LeaseRecord) -> bool:
    """Whether a holder is known to have ended: it was a process of this machine, and does not run any more."""
    if record.pid is None or record.machine is None or record.machine != _machine():
        return False
    if _user() not in (0, record.user):
        return False  # Some systems hide the processes of other users.
    born = _born(record.pid)
    return born is None or born != record.born


def _machine() -> str | None:
    """Return an identifier of this boot and of the PID namespace; ``None`` if it is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _user() -> int | None:
    return os.getuid() if hasattr(os, "getuid") else None


def _born(pid: int) -> str | None:
    """Return when a process was started, in ticks since boot; ``None`` if it does not run."""
    fields = stat_fields(pid)
    return None if fields is None or fields[0] in "ZX" else fields[19]
