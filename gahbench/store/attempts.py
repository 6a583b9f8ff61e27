"""Attempts at a unit: each has its own folder, and the first complete folder becomes the folder of the unit."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gahbench._util.files import flush, names_in, storing, write_json
from gahbench._util.sealed import write_sealed
from gahbench.contracts.unit import Unit
from gahbench.store.finished import DONE, UNIT
from gahbench.training.file_names import checkpoints_in, snapshot_file

#: Separates the name of the unit from a random number in the folder name of an attempt.
PARTIAL = ".partial"
#: The file in an attempt that says where the attempt runs, and how far a fit has come.
PROGRESS = "progress.json"


class Attempt:
    """One attempt at a unit, in ``units/UNIT.partial-NUMBER``; a fit resumes from the newest earlier attempt."""

    def __init__(self, units: Path, unit: Unit, failure: Path) -> None:
        self.unit = unit
        self._failure, self._started = failure, time.time()
        # Scores have no checkpoints to resume from.
        earlier = sorted(attempts_at(units, unit.folder), key=checkpoint_time) if unit.kind == "fit" else []
        self.folder = units / f"{unit.folder}{PARTIAL}-{uuid.uuid4().hex}"
        self.folder.mkdir(parents=True)
        for newest in earlier[-1:]:
            for file in [*(path for _, path in checkpoints_in(newest)), *newest.glob(snapshot_file("*"))]:
                # The process that wrote the file may still be writing, and delete the file in the meantime.
                with contextlib.suppress(OSError):
                    if file.is_file() and not file.is_symlink():
                        link_or_copy(file, self.folder / file.name)
        for older in earlier[:-1]:
            shutil.rmtree(older, ignore_errors=True)

    def report(self, **progress: Any) -> None:
        """Write where the attempt runs and its progress, for displays; errors of the file system are ignored."""
        content = {"host": socket.gethostname(), "process": os.getpid(), "started": self._started, **progress}
        temporary = self.folder / f"{PROGRESS}.tmp"
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(content), encoding="utf-8")
            temporary.replace(self.folder / PROGRESS)

    def finish(self, facts: dict[str, Any], keep: Iterable[str]) -> bool:
        """Write the records of the unit, and publish it; return ``False`` if another process finished it first.

        ``keep`` names the files of the result; all other files of the attempt are deleted.
        """
        with storing(self.folder):
            write_json(self.folder / UNIT, self.unit.record())
            files = {}
            for name in sorted({*keep, UNIT}):
                data = (self.folder / name).read_bytes()
                files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                flush(self.folder / name)
            for name in names_in(self.folder):
                if name not in files:
                    (self.folder / name).unlink()
            write_sealed(self.folder / DONE, {**facts, "files": files})
            is_first = publish(self.folder, self.folder.with_name(self.unit.folder))
            self._failure.unlink(missing_ok=True)
            return is_first

    def drop(self) -> None:
        """Delete the folder of the attempt."""
        shutil.rmtree(self.folder, ignore_errors=True)


def publish(attempt: Path, final: Path) -> bool:
    """Rename a complete attempt to the folder of its unit; return ``False`` if that folder already exists."""
    inode = (attempt / DONE).stat().st_ino
    try:
        attempt.rename(final)
    except FileNotFoundError:
        # Either a network file system lost its reply and repeated the rename, or another process has finished the unit
        # and removed this attempt.
        if final.name not in names_in(final.parent):
            raise
        return (final / DONE).stat().st_ino == inode
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


def checkpoint_time(folder: Path) -> float:
    """Return when the last checkpoint of an attempt was written, by the file server's clock; 0 if it has none."""
    for _, file in checkpoints_in(folder):
        # The process that wrote the file may delete it in the meantime.
        with contextlib.suppress(OSError):
            return file.stat().st_mtime
    return 0.0


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file that is never changed in place, or copy it if the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
