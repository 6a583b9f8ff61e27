"""Claims: who is working on a unit, on any machine that sees the folder.

A claim is a file made by ``os.link``, which succeeds for one of many. Who has it keeps it alive by its time; one that
has not been kept alive for a while is taken over by a rename, which again succeeds for one. Ages are measured by the
clock of the file server, so that the clocks of machines need not agree.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gahbench._util.checks import Check, is_count, is_number, is_text
from gahbench._util.files import delete_entry, names_in, open_regular, read_regular
from gahbench._util.sealed import parse_json
from gahbench._util.seconds import environment_seconds
from gahbench.store.holder import has_ended, own_record

#: Seconds after which a claim that was not kept alive is lost.
LEASE = environment_seconds("GAHBENCH_LEASE_SECONDS", 300.0)
#: No claim is alive for longer than this, whatever it says, in seconds.
_LONGEST = 7 * 86400.0
#: What stands under the name of a claim is no file.
_NOT_A_FILE = (errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO)
#: How often a unit may be lost, with whoever did it, until that is its failure.
MAX_LOSSES = 3
#: Claims are kept alive this many times in a lease.
_BEATS = 10


@dataclass
class Claim:
    """A claim of this process.

    Parameters
    ----------
    name
        Folder name of the unit.
    losses
        How often the unit was lost before, without getting on.
    progress
        When earlier attempts last got on, by the file server's clock; 0 if they never did.
    token
        Distinguishes it from other claims of the unit.
    is_lost
        Whether another has taken it over.
    """

    name: str
    losses: int
    progress: float
    token: str
    is_lost: bool = False


@dataclass(frozen=True)
class Seen:
    """A claim of anyone."""

    name: str
    record: dict[str, Any]
    age: float
    is_stale: bool


class Claims:
    """The claims in a results folder."""

    def __init__(self, folder: Path, lease: float = LEASE) -> None:
        self.folder, self.lease = folder, lease
        self._held: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._beating: threading.Thread | None = None
        self._closed = threading.Event()
        self._clock: tuple[float, float] | None = None

    def names(self) -> set[str]:
        """Return the names of the units that are claimed, listed."""
        return set(names_in(self.folder))

    def seen(self, name: str) -> Seen | None:
        """Return the claim of a unit; ``None`` if there is none any more."""
        file = self.folder / name
        try:
            # A file that is opened shows its present state, on network file systems too.
            with open_regular(file, follow=False) as handle:
                touched, content = os.fstat(handle.fileno()).st_mtime, handle.read()
        except OSError as error:
            # What is no file is nobody's claim.
            return Seen(name, {}, 0.0, True) if error.errno in _NOT_A_FILE else None
        record = _parsed(content)
        age = self.now() - touched
        # Processes may differ in how often they keep their claims alive.
        is_stale = age > record.get("lease", self.lease) or bool(record.get("lost")) or has_ended(record)
        return Seen(name, record, age, is_stale)

    def take(self, name: str, losses: int = 0, progress: float = 0.0) -> Claim | None:
        """Claim a unit that nobody has; ``None`` if somebody was faster."""
        claim = Claim(name, losses, progress, uuid.uuid4().hex)
        temporary = self._written(claim)
        try:
            os.link(temporary, self.folder / name)
        except FileExistsError:
            # A server may have done it, and answered twice.
            if not self._is_own(claim):
                return None
        except OSError:
            if not self._made(name, temporary.read_bytes()):
                return None
        finally:
            temporary.unlink(missing_ok=True)
        with self._lock:
            self._held[name] = claim
            if self._beating is None:
                self._beating = threading.Thread(target=self._keep_alive, daemon=True)
                self._beating.start()
        return claim

    def clear(self, seen: Seen) -> bool:
        """Remove a stale claim; ``False`` if somebody was faster."""
        file, aside = self.folder / seen.name, self.folder / f".stale-{uuid.uuid4().hex}"
        try:
            file.rename(aside)
        except OSError:
            return False
        is_same = self._token(aside) == seen.record.get("token")
        if not is_same:
            # Somebody cleared it meanwhile, and this is the next claim, which is alive.
            with contextlib.suppress(OSError):
                os.link(aside, file)
        with contextlib.suppress(OSError):
            delete_entry(aside)
        return is_same

    def release(self, claim: Claim) -> None:
        """Give up a claim, if it is still this process's."""
        with self._lock:
            self._held.pop(claim.name, None)
        if self._is_own(claim):
            (self.folder / claim.name).unlink(missing_ok=True)

    def lose(self, claim: Claim, why: str) -> None:
        """Record that the unit was lost with whoever did it: the claim may be taken over at once."""
        with self._lock:
            self._held.pop(claim.name, None)
        if self._is_own(claim):
            self._written(claim, lost=why).replace(self.folder / claim.name)

    def sweep(self, finished: Iterable[str], failed: Iterable[str] = ()) -> None:
        """Remove claims of ended units whose holders died, and files half written."""
        for name in self.names().intersection(finished):
            delete_entry(self.folder / name)
        for name in self.names().intersection(failed):
            if (seen := self.seen(name)) is not None and seen.is_stale:
                self.clear(seen)
        for file in self.folder.glob(".*"):
            with contextlib.suppress(OSError):
                if self.now() - file.stat().st_mtime > self.lease:
                    file.unlink()

    def close(self) -> None:
        """Release all that is held, and stop keeping claims alive."""
        self._closed.set()
        for claim in list(self._held.values()):
            self.release(claim)

    def now(self) -> float:
        """Return the time by the file server's clock, in seconds."""
        if self._clock is None or time.monotonic() - self._clock[0] > self.lease / _BEATS:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                file = self.folder / f".{uuid.uuid4().hex}"
                with file.open("x") as handle:
                    handle.write("?")
                self._clock = (time.monotonic(), file.stat().st_mtime)
                file.unlink(missing_ok=True)
            except OSError:
                # Who only looks need not write: this machine's clock is the next best.
                self._clock = (time.monotonic(), time.time())
        return self._clock[1] + time.monotonic() - self._clock[0]

    def _written(self, claim: Claim, **more: Any) -> Path:
        """Write a claim under a name of its own."""
        content = {**own_record(), "since": self.now(), "lease": self.lease}
        content |= {"losses": claim.losses, "progress": claim.progress, **more}
        temporary = self.folder / f".{uuid.uuid4().hex}"
        try:
            temporary.write_text(json.dumps({**content, "token": claim.token}), encoding="utf-8")
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _made(self, name: str, content: bytes) -> bool:
        """Make a claim where the file system has no links."""
        try:
            with (self.folder / name).open("xb") as file:
                file.write(content)
        except FileExistsError:
            return False
        return True

    def _is_own(self, claim: Claim) -> bool:
        return self._token(self.folder / claim.name) == claim.token

    def _token(self, file: Path) -> str | None:
        """Return the token of a claim; ``None`` if there is none."""
        try:
            return _parsed(read_regular(file, follow=False)).get("token")
        except OSError as error:
            if error.errno in _NOT_A_FILE or isinstance(error, FileNotFoundError):
                return None
            raise

    def _keep_alive(self) -> None:
        while not self._closed.wait(self.lease / _BEATS):
            with self._lock:
                held = list(self._held.values())
                if not held:
                    # The next claim starts it anew.
                    self._beating = None
                    return
            for claim in held:
                try:
                    if self._is_own(claim):
                        os.utime(self.folder / claim.name)
                    else:
                        claim.is_lost = True
                except OSError:
                    continue  # The file server may be back at the next beat.


_FIELDS: dict[str, Check] = {
    **dict.fromkeys(("host", "born", "machine", "job", "token", "lost"), is_text),
    **dict.fromkeys(("pid", "user", "losses"), is_count),
    **dict.fromkeys(("since", "progress"), is_number),
    "lease": lambda value: is_number(value) and 0 < value <= _LONGEST,
}


def _parsed(content: bytes) -> dict[str, Any]:
    """Return the record of a claim, without fields that are damaged; an empty one will grow old."""
    try:
        record = parse_json(content)
    except ValueError:
        return {}
    if not isinstance(record, dict):
        return {}
    return {name: value for name, value in record.items() if name in _FIELDS and _FIELDS[name](value)}
