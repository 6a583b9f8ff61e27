"""Attempts at a unit: each has its own folder, and the first complete folder becomes the folder of the unit."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gahbench._util.errors import ResultsError, listing
from gahbench._util.files import flush, names_in, read_regular, storing, write_json
from gahbench._util.sealed import parse_json, write_sealed
from gahbench.contracts.unit import Unit
from gahbench.store.finished import DONE, UNIT
from gahbench.training.file_names import checkpoints_in, snapshot_file

#: Separates the name of the unit from the name of the process in the folder name of an attempt.
PARTIAL = ".partial"
#: The file in an attempt that says where the attempt runs, and how far a fit has come.
PROGRESS = "progress.json"


class Attempt:
    """One attempt at a unit, in ``units/UNIT.partial-HOST-PID-NUMBER``."""

    def __init__(self, units: Path, unit: Unit, failure: Path) -> None:
        self.unit = unit
        self._failure, self._started = failure, time.time()
        self.folder = units / f"{unit.folder}{PARTIAL}-{unique_name()}"
        self._final = units / unit.folder
        # Scores have no checkpoints to resume from.
        self._earlier = list(attempts_at(units, unit.folder)) if unit.kind == "fit" else []
        self.folder.mkdir(parents=True)
        if newest := max(self._earlier, key=checkpoint_time, default=None):
            self._take_over(newest)
            # The newest attempt is kept until the unit is finished, since another process may still be writing to it.
            for earlier in self._earlier:
                if earlier != newest:
                    shutil.rmtree(earlier, ignore_errors=True)

    def _take_over(self, earlier: Path) -> None:
        """Link or copy the checkpoints and snapshots of an earlier attempt; these files are never changed in place."""
        for file in [*(path for _, path in checkpoints_in(earlier)), *earlier.glob(snapshot_file("*"))]:
            # The process that wrote the file may delete it in the meantime.
            with contextlib.suppress(OSError):
                if file.is_file() and not file.is_symlink():
                    link_or_copy(file, self.folder / file.name)

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
        kept = set(keep)
        with storing(self.folder):
            if missing := sorted(name for name in kept if not (self.folder / name).is_file()):
                raise ResultsError(f"{self.folder}: cannot be finished without {listing(missing)}")
            for file in _files_of(self.folder):
                if file.name not in kept:
                    shutil.rmtree(file) if file.is_dir() else file.unlink()
            write_json(self.folder / UNIT, self.unit.record())
            files = {}
            for file in sorted(_files_of(self.folder)):
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
        """Delete the folder of the attempt."""
        shutil.rmtree(self.folder, ignore_errors=True)


def unique_name() -> str:
    """Return a name that is unique across machines: host, process and a random number."""
    host = re.sub(r"[^A-Za-z0-9.]", "", socket.gethostname())[:40] or "host"
    return f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def read_progress(attempt: Path) -> dict[str, Any]:
    """Return what an attempt reported last; empty if it has reported nothing, or has ended."""
    try:
        content = parse_json(read_regular(attempt / PROGRESS, follow=False))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


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
    times = [0.0]
    with contextlib.suppress(OSError):
        for _, file in checkpoints_in(folder):
            times.append(file.stat().st_mtime)
    return max(times)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file that is never changed in place, or copy it if the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _files_of(folder: Path) -> list[Path]:
    """Return the files of an attempt, without the ``.nfs`` placeholders for deleted files that are still open."""
    return [file for file in folder.iterdir() if not file.name.startswith(".nfs")]
