"""Attempts at a unit: each writes to a folder of its own, and the first complete folder becomes the unit."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gahbench._util.errors import ResultsError, listing
from gahbench._util.files import flush, names_in, storing, write_json
from gahbench._util.sealed import write_sealed
from gahbench.contracts.unit import Unit
from gahbench.store.finished import DONE, UNIT
from gahbench.store.leases import own_name
from gahbench.training.file_names import checkpoints_in, snapshot_file

#: In the name of an attempt, between the name of its unit and the name of the process that works on it.
PARTIAL = ".partial"


class Attempt:
    """One attempt at a unit, in ``units/UNIT.partial-HOST-PID-NUMBER``."""

    def __init__(self, units: Path, unit: Unit, failure: Path) -> None:
        self.unit = unit
        self._failure = failure
        self.folder = units / f"{unit.folder}{PARTIAL}-{own_name()}"
        self._final = units / unit.folder
        # Scores have no checkpoints to resume from.
        self._earlier = list(attempts_at(units, unit.folder)) if unit.kind == "fit" else []
        self.folder.mkdir(parents=True)
        if newest := max(self._earlier, key=last_checkpoint, default=None):
            self._take_over(newest)
            # The newest attempt stays until the unit is finished, since its writer may still be working on it.
            for earlier in self._earlier:
                if earlier != newest:
                    shutil.rmtree(earlier, ignore_errors=True)

    def _take_over(self, earlier: Path) -> None:
        """Take over the checkpoints and snapshots of an earlier attempt, which are never written in place."""
        for file in [*(path for _, path in checkpoints_in(earlier)), *earlier.glob(snapshot_file("*"))]:
            # Its writer may delete the oldest file meanwhile.
            with contextlib.suppress(OSError):
                if file.is_file() and not file.is_symlink():
                    link_or_copy(file, self.folder / file.name)

    def finish(self, facts: dict[str, Any], keep: Iterable[str]) -> bool:
        """Make the unit finished."""
        kept = set(keep)
        with storing(self.folder):
            if missing := sorted(name for name in kept if not (self.folder / name).is_file()):
                raise ResultsError(f"{self.folder}: not finished, as {listing(missing)} are not there")
            for file in _visible(self.folder):
                if file.name not in kept:
                    shutil.rmtree(file) if file.is_dir() else file.unlink()
            write_json(self.folder / UNIT, self.unit.record())
            files = {}
            for file in sorted(_visible(self.folder)):
                data = file.read_bytes()
                files[file.name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                flush(file)
            write_sealed(self.folder / DONE, {**facts, "files": files})
            is_first = publish(self.folder, self._final)
            self._failure.unlink(missing_ok=True)
            for earlier in self._earlier:
                shutil.rmtree(earlier, ignore_errors=True)
            return is_first

    def drop(self) -> None:
        """Remove the attempt."""
        shutil.rmtree(self.folder, ignore_errors=True)


def publish(attempt: Path, final: Path) -> bool:
    """Rename a whole attempt to its unit; drop it, and return ``False``, if another was first."""
    own = (attempt / DONE).stat().st_ino
    try:
        attempt.rename(final)
    except FileNotFoundError:
        # A network file system whose answer was lost is asked twice to rename the same folder; or another process has
        # finished the unit and removed this attempt.
        if final.name not in names_in(final.parent):
            raise
        return (final / DONE).stat().st_ino == own
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        shutil.rmtree(attempt, ignore_errors=True)
        return False
    flush(final.parent)
    return True


def attempts_at(units: Path, name: str) -> Iterable[Path]:
    """Yield the folders of attempts at a unit."""
    return (units / entry for entry in names_in(units) if entry.startswith(f"{name}{PARTIAL}"))


def last_checkpoint(folder: Path) -> float:
    """Return when an attempt last wrote a checkpoint, by the file server's clock; 0 if it never did."""
    times = [0.0]
    with contextlib.suppress(OSError):
        for _, file in checkpoints_in(folder):
            times.append(file.stat().st_mtime)
    return max(times)


def link_or_copy(source: Path, target: Path) -> None:
    """Link a file that is never written in place, or copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _visible(folder: Path) -> list[Path]:
    """Return the files of an attempt, without the placeholders of NFS for files that are open and deleted."""
    return [file for file in folder.iterdir() if not file.name.startswith(".nfs")]
