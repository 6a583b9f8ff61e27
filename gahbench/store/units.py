"""The folder of a unit: written as an attempt, renamed once it is complete, and validated before use.

``done.json``, which is written last, holds the sizes and checksums of the other files, and a checksum of itself. A
damaged unit counts as not done. A file is opened once, so the bytes that are hashed are the bytes that are used. The
checksums detect damage, not forgery: a user who can write to the folder can write matching checksums.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import from_json

from gahbench._util.errors import ResultsError
from gahbench._util.files import flush, names_in, open_regular, read_regular, storing, write_json
from gahbench._util.records import MAX_RECORD, FileName, check_record, parse_sealed, write_sealed
from gahbench.contracts.metrics import Scores
from gahbench.contracts.unit import Unit
from gahbench.training.file_names import WEIGHTS, checkpoints_in, snapshot_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Content = TypeVar("_Content")
#: The rows (sigma, image, value, part) of a score file.
Rows = list[tuple[float | None, int | None, float, str]]

DONE, UNIT, SCORES, ARRAYS = "done.json", "unit.json", "scores.csv", "arrays.npz"
#: Separates the name of the unit from a random number in the folder name of an attempt.
PARTIAL = ".partial"
#: The file in an attempt that says where the attempt runs, and how far a fit has come.
PROGRESS = "progress.json"
_COLUMNS = ["sigma", "image", "value", "part"]
_SNAPSHOT = re.compile(re.escape(snapshot_file("*")).replace(r"\*", r"(\d{1,18})"))
#: Numbers of the errors of a path that is absent, not a regular file, or too large.
_NOT_A_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ELOOP, errno.EFBIG)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file that is never changed in place, or copy it if the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


class Attempt:
    """One attempt at a unit, in ``units/UNIT.partial-NUMBER``; a fit resumes from the newest earlier attempt."""

    def __init__(self, units: Path, unit: Unit, failure: Path, earlier: Sequence[Path]) -> None:
        self.unit, self._failure, self._started = unit, failure, time.time()
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

    def finish(self, facts: Mapping[str, Any], keep: Iterable[str]) -> None:
        """Write the records of the unit, and publish it with the files ``keep`` of the result."""
        with storing(self.folder):
            write_json(self.folder / UNIT, self.unit.record())
            files = {}
            for name in sorted({*keep, UNIT}):
                data = (self.folder / name).read_bytes()
                files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            write_sealed(self.folder / DONE, {**facts, "files": files})
            self.publish({*files, DONE})

    def publish(self, names: Set[str]) -> None:
        """Rename the attempt, with these files alone, to the folder of its unit, unless that exists."""
        final = self.folder.with_name(self.unit.folder)
        for name in names_in(self.folder):
            if name in names:
                flush(self.folder / name)
            else:
                (self.folder / name).unlink()
        try:
            self.folder.rename(final)
        except OSError:
            # Another process was first, or a network file system lost its reply and repeated the rename.
            if final.name not in names_in(final.parent):
                raise
            self.drop()
        flush(final.parent)
        self._failure.unlink(missing_ok=True)

    def drop(self) -> None:
        """Delete the folder of the attempt."""
        shutil.rmtree(self.folder, ignore_errors=True)


class DamagedError(ResultsError):
    """The folder of a finished unit is incomplete or has changed since it was written, so the unit is not done."""


class FinishedUnit:
    """The folder of a finished unit, the content of its ``done.json``, and the SHA-256 of that file.

    No other file is read; a :class:`DamagedError` is raised if ``done.json`` is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with _reading(folder / DONE):
            content = read_regular(folder / DONE, MAX_RECORD, follow=False)
        try:
            self.done: Mapping[str, Any] = parse_sealed(content)
            check_record(dict[FileName, dict[str, Any]], self.done.get("files"), "the files of a finished unit")
        except ValueError as error:
            raise DamagedError(f"{folder / DONE}: {error}") from error
        self.checksum = hashlib.sha256(content).hexdigest()

    @property
    def names(self) -> list[str]:
        """The names of all files except ``done.json``."""
        return list(self.done["files"])

    @property
    def snapshots(self) -> dict[int, str]:
        """The names of the files of weights saved during training, by the number of steps."""
        matches = filter(None, map(_SNAPSHOT.fullmatch, self.names))
        return dict(sorted((int(match[1]), match[0]) for match in matches))

    def read(self, name: str) -> bytes:
        """Return the content of a file, after comparing its checksum."""
        with _reading(self.folder / name):
            content = read_regular(self.folder / name, follow=False)
        if hashlib.sha256(content).hexdigest() != self.done["files"].get(name, {}).get("sha256"):
            raise DamagedError(f"{self.folder / name}: damaged, its checksum is not the recorded one")
        return content

    def check(self, full: bool = False) -> None:
        """Compare the checksums of all files but ``unit.json``; of networks only the sizes, unless ``full``."""
        for name in sorted({*self.names} - {UNIT}):
            if full or not name.endswith(Path(WEIGHTS).suffix):
                self.read(name)
                continue
            # Opening a file refreshes its attributes on network file systems, which ``os.stat`` may read from a cache.
            with _reading(self.folder / name), open_regular(self.folder / name, follow=False) as file:
                if os.fstat(file.fileno()).st_size != self.done["files"][name].get("bytes"):
                    raise DamagedError(f"{self.folder / name}: damaged, its size is not the recorded one")

    def scores(self) -> Rows:
        """Return the rows of a score unit."""
        return self._parse(SCORES, _parse_scores)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that the metric of a score unit stored."""
        import numpy as np

        return self._parse(ARRAYS, lambda content: dict(np.load(io.BytesIO(content)))) if ARRAYS in self.names else {}

    def _parse(self, name: str, parse: Callable[[bytes], _Content]) -> _Content:
        content = self.read(name)
        try:
            return parse(content)
        except Exception as error:
            # The parsers of CSV and arrays raise errors of many types.
            raise DamagedError(f"{self.folder / name}: cannot be read ({error}); delete this folder") from error


def open_finished(folder: Path) -> FinishedUnit:
    """Open the folder of a finished unit, and check that its ``unit.json`` is that of the unit."""
    finished = FinishedUnit(folder)
    identity = finished._parse(UNIT, lambda content: "{kind}-{key}".format(**from_json(content)))
    if identity != folder.name:
        raise DamagedError(f"{folder / UNIT}: belongs to another unit, {identity}")
    return finished


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise a :class:`DamagedError` if a file is missing; other errors must not cause the unit to be recomputed."""
    try:
        yield
    except OSError as error:
        kind = DamagedError if error.errno in _NOT_A_FILE else ResultsError
        raise kind(f"{path}: cannot be read ({error.strerror or error}); expected a finished unit") from error


def write_scores(folder: Path, scores: Scores) -> tuple[str, ...]:
    """Write values (without rounding) and arrays to a folder; return the names of the files."""
    columns = [getattr(scores, name) for name in _COLUMNS]
    # The module csv writes a missing value as an empty string, and a float without rounding.
    rows = zip(*([None] * len(scores.value) if column is None else column for column in columns), strict=True)
    arrays: dict[str, Any] = {name: array.detach().cpu().numpy() for name, array in (scores.arrays or {}).items()}
    with storing(folder):
        with (folder / SCORES).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *rows])
        if arrays:
            import numpy as np

            np.savez_compressed(folder / ARRAYS, **arrays)
    return (SCORES, ARRAYS) if arrays else (SCORES,)


def _parse_scores(content: bytes) -> Rows:
    columns, *rows = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
    if columns != _COLUMNS:
        raise ValueError(f"its columns are {columns}, not {_COLUMNS}")
    return [
        (float(sigma) if sigma else None, int(image) if image else None, float(value), part)
        for sigma, image, value, part in rows
    ]
