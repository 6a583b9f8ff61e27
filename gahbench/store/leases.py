"""Leases on units of work, for processes on any machine that sees the results folder.

A lease is a file created with ``os.link``, which succeeds for exactly one process. The holder refreshes the
modification time of the file. A lease that has not been refreshed for some time is stale: another process removes it by
a rename, which again succeeds for exactly one process. Ages are measured by the clock of the file server, so that the
clocks of the machines need not agree.
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

#: Seconds without a refresh after which a lease is stale.
LEASE_SECONDS = environment_seconds("GAHBENCH_LEASE_SECONDS", 300.0)
#: The longest duration that a lease may declare, in seconds.
_MAX_SECONDS = 7 * 86400.0
#: Numbers of the errors that are raised on opening a path that is not a regular file.
_NOT_A_FILE = (errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO)
#: A unit fails once the processes that worked on it were lost this many times.
MAX_LOSSES = 3
#: Leases are refreshed this many times per duration.
_REFRESHES = 10


class LeaseRecord(BaseModel):
    """The content of a lease file: its holder, and how often the unit was lost before."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    host: str = "unknown"
    pid: Annotated[int, Field(ge=0)] | None = None
    #: Start time of the process in ticks since boot, which distinguishes processes with the same ID.
    born: str | None = None
    #: Identifier of the boot and of the PID namespace in which the ID is valid.
    machine: str | None = None
    user: Annotated[int, Field(ge=0)] | None = None
    #: Slurm's ID of the job.
    job: str | None = None
    #: When the lease was taken, by the file server's clock.
    since: float | None = None
    #: Seconds without a refresh after which the lease is stale.
    lease: Annotated[float, Field(gt=0, le=_MAX_SECONDS)] | None = None
    losses: Annotated[int, Field(ge=0)] = 0
    #: When an earlier attempt last wrote a checkpoint, by the file server's clock; 0 if none did.
    progress: float = 0.0
    #: A random token that distinguishes this lease from other leases of the unit.
    token: str | None = None
    #: Why the holder's process was lost; the lease is then stale at once.
    lost: str | None = None


@dataclass
class Lease:
    """A lease that this process holds; ``is_lost`` once another process has taken it over."""

    name: str
    record: LeaseRecord
    is_lost: bool = False


@dataclass(frozen=True)
class SeenLease:
    """A lease of any process, as read from its file; the age is in seconds."""

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
        self._refresher: threading.Thread | None = None
        self._closed = threading.Event()
        self._clock: tuple[float, float] | None = None

    def names(self) -> set[str]:
        """Return the names of the units that have a lease."""
        return set(names_in(self.folder))

    def inspect(self, name: str) -> SeenLease | None:
        """Return the lease of a unit; ``None`` if the unit has no lease."""
        try:
            # Opening a file refreshes its attributes on network file systems, which ``os.stat`` may read from a cache.
            with open_regular(self.folder / name, follow=False) as handle:
                touched, content = os.fstat(handle.fileno()).st_mtime, handle.read()
        except OSError as error:
            return SeenLease(name, LeaseRecord(), 0.0, True) if error.errno in _NOT_A_FILE else None
        record = _parse_record(content)
        age = self.now() - touched
        # Processes may have different lease durations, so the recorded duration counts.
        is_stale = age > (record.lease or self.seconds) or bool(record.lost) or has_exited(record)
        return SeenLease(name, record, age, is_stale)

    def take(self, name: str, losses: int = 0, progress: float = 0.0) -> Lease | None:
        """Take the lease of a unit; return ``None`` if another process holds it."""
        fields = {"since": self.now(), "lease": min(self.seconds, _MAX_SECONDS), "losses": losses, "progress": progress}
        lease = Lease(name, own_record().model_copy(update={**fields, "token": uuid.uuid4().hex}))
        temporary = self._write(lease.record)
        try:
            os.link(temporary, self.folder / name)
        except FileExistsError:
            # A network file system may have repeated the request after it succeeded.
            if not self._is_own(lease):
                return None
        except OSError:
            # The file system has no hard links.
            try:
                with (self.folder / name).open("xb") as file:
                    file.write(temporary.read_bytes())
            except FileExistsError:
                return None
        finally:
            temporary.unlink(missing_ok=True)
        with self._lock:
            self._held[name] = lease
            if self._refresher is None:
                self._refresher = threading.Thread(target=self._refresh_held, daemon=True)
                self._refresher.start()
        return lease

    def clear(self, stale: SeenLease) -> bool:
        """Remove a stale lease; return ``False`` if another process was faster."""
        file, aside = self.folder / stale.name, self.folder / f".stale-{uuid.uuid4().hex}"
        try:
            file.rename(aside)
        except OSError:
            return False
        is_same = self._token(aside) == stale.record.token
        if not is_same:
            # In the meantime another process removed the stale lease and took a new lease, which must be restored.
            with contextlib.suppress(OSError):
                os.link(aside, file)
        with contextlib.suppress(OSError):
            delete_entry(aside)
        return is_same

    def release(self, lease: Lease) -> None:
        """Delete the file of a lease, if this process still holds it."""
        with self._lock:
            self._held.pop(lease.name, None)
        if self._is_own(lease):
            (self.folder / lease.name).unlink(missing_ok=True)

    def lose(self, lease: Lease, why: str) -> None:
        """Record that the process that ran the unit was lost, so that another process may take over at once."""
        with self._lock:
            self._held.pop(lease.name, None)
        if self._is_own(lease):
            self._write(lease.record.model_copy(update={"lost": why})).replace(self.folder / lease.name)

    def sweep(self, finished: Iterable[str], failed: Iterable[str] = ()) -> None:
        """Remove the leases of finished units, stale leases of failed units, and old temporary files."""
        for name in self.names().intersection(finished):
            delete_entry(self.folder / name)
        for name in self.names().intersection(failed):
            if (lease := self.inspect(name)) is not None and lease.is_stale:
                self.clear(lease)
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
        if self._clock is None or time.monotonic() - self._clock[0] > self.seconds / _REFRESHES:
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
        """Write a lease record to a temporary file with a unique name."""
        path = self.folder / f".{uuid.uuid4().hex}"
        try:
            path.write_text(record.model_dump_json(), encoding="utf-8")
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            raise
        return path

    def _is_own(self, lease: Lease) -> bool:
        return self._token(self.folder / lease.name) == lease.record.token

    def _token(self, file: Path) -> str | None:
        """Return the token in a lease file; ``None`` if the file is missing or invalid."""
        try:
            return _parse_record(read_regular(file, follow=False)).token
        except OSError as error:
            if error.errno in _NOT_A_FILE or isinstance(error, FileNotFoundError):
                return None
            raise

    def _refresh_held(self) -> None:
        while not self._closed.wait(self.seconds / _REFRESHES):
            with self._lock:
                held = list(self._held.values())
                if not held:
                    # ``take`` starts a new thread for the next lease.
                    self._refresher = None
                    return
            for lease in held:
                try:
                    if self._is_own(lease):
                        os.utime(self.folder / lease.name)
                    else:
                        lease.is_lost = True
                except OSError:
                    continue  # The file server may respond again at the next refresh.


def _parse_record(content: bytes) -> LeaseRecord:
    """Parse the content of a lease file; invalid content gives an empty record, which becomes stale with time."""
    try:
        return LeaseRecord.model_validate_json(content)
    except ValueError:
        return LeaseRecord()


def unique_name() -> str:
    """Return a name that is unique across machines: host, process and a random number."""
    host = re.sub(r"[^A-Za-z0-9.]", "", socket.gethostname())[:40] or "host"
    node = os.environ.get("SLURMD_NODENAME", "")
    return "-".join(part for part in (host, node, str(os.getpid()), uuid.uuid4().hex[:8]) if part)


def own_record() -> LeaseRecord:
    """Return a lease record that describes this process."""
    return LeaseRecord(
        host=socket.gethostname(),
        pid=os.getpid(),
        born=_start_time(os.getpid()),
        machine=_boot_and_namespace(),
        user=_user(),
        job=os.environ.get("SLURM_JOB_ID"),
    )


def has_exited(record: LeaseRecord) -> bool:
    """Return whether the holder was a process of this machine that no longer runs; false for other machines."""
    if record.pid is None or record.machine is None or record.machine != _boot_and_namespace():
        return False
    if _user() not in (0, record.user):
        return False  # Some systems hide the processes of other users.
    born = _start_time(record.pid)
    return born is None or born != record.born


def _boot_and_namespace() -> str | None:
    """Return an identifier of the current boot and PID namespace of this machine; ``None`` if it is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _user() -> int | None:
    return os.getuid() if hasattr(os, "getuid") else None


def _start_time(pid: int) -> str | None:
    """Return the start time of a process in ticks since boot; ``None`` if the process does not run."""
    fields = stat_fields(pid)
    return None if fields is None or fields[0] in "ZX" else fields[19]
