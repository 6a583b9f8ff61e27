"""Reading and validation of the folder of a finished unit; a damaged unit counts as not done.

``done.json`` holds the sizes and checksums of the other files, and a checksum of itself; ``unit.json`` holds the unit.
A file is opened once, so the bytes that are hashed are the bytes that are used. The checksums detect damage, not
forgery: a user who can write to the folder can write matching checksums.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gahbench._util.checks import check_record
from gahbench._util.errors import ResultsError, listing
from gahbench._util.files import open_regular, read_regular, storing
from gahbench._util.keys import key_of
from gahbench._util.readable import pluralize
from gahbench._util.sealed import parse_json, parse_sealed
from gahbench.contracts.metrics import Scores
from gahbench.contracts.unit import Unit
from gahbench.store.records import DoneRecord, FitRecord, ScoreRecord, unit_of
from gahbench.training.file_names import WEIGHTS, snapshot_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Content = TypeVar("_Content")

DONE, UNIT = "done.json", "unit.json"
SCORES = "scores.csv"
ARRAYS = "arrays.npz"
_COLUMNS = ("sigma", "image", "value", "part")
_SNAPSHOT = re.compile(re.escape(snapshot_file("*")).replace(r"\*", r"(\d{1,18})"))
_WRONG_CHECKSUM = "damaged, its checksum is not the recorded one"
#: Numbers of the errors that are raised on opening a path that is absent or not a regular file.
_NOT_A_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG)
#: The maximum number of damaged units that a warning lists.
_MAX_NAMED = 5


def write_scores(folder: Path, scores: Scores) -> tuple[str, ...]:
    """Write values (without rounding) and arrays to a folder; return the names of the files."""
    empty = [""] * len(scores.value)
    columns = (
        map(repr, scores.sigma) if scores.sigma is not None else empty,
        scores.image if scores.image is not None else empty,
        map(repr, scores.value),
        scores.part if scores.part is not None else empty,
    )
    arrays: dict[str, Any] = {name: array.detach().cpu().numpy() for name, array in (scores.arrays or {}).items()}
    with storing(folder):
        with (folder / SCORES).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *zip(*columns, strict=True)])
        if not arrays:
            return (SCORES,)
        import numpy as np

        np.savez_compressed(folder / ARRAYS, **arrays)
    return (SCORES, ARRAYS)


def parse_scores(content: bytes) -> list[tuple[float | None, int | None, float, str]]:
    """Return the rows (sigma, image, value, part) of a score file."""
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if not rows or tuple(rows[0]) != _COLUMNS:
        raise ValueError(f"columns {rows[:1]}, expected {listing(_COLUMNS)}")
    return [
        (float(sigma) if sigma else None, int(image) if image else None, float(value), part)
        for sigma, image, value, part in rows[1:]
    ]


def parse_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of an array file."""
    import numpy as np

    try:
        with np.load(io.BytesIO(content)) as file:
            return dict(file)
    except Exception as error:
        # zipfile and numpy raise many types of errors for damaged files.
        raise ValueError(str(error)) from error


class DamagedError(ResultsError):
    """The folder of a finished unit is incomplete or has changed since it was written, so the unit is not done."""


@dataclass(frozen=True)
class FinishedUnit:
    """The records in the folder of a finished unit."""

    folder: Path
    unit: Unit
    done: Mapping[str, Any]
    checksum: str

    @property
    def names(self) -> list[str]:
        """The names of all files except ``done.json``."""
        return list(self.done["files"])

    @property
    def snapshots(self) -> dict[int, str]:
        """The names of the files of weights saved during training, by the number of steps."""
        matches = ((_SNAPSHOT.fullmatch(name), name) for name in self.names)
        return dict(sorted((int(match[1]), name) for match, name in matches if match))

    def read(self, name: str) -> bytes:
        """Return the content of a file, after comparing its checksum."""
        return _read(self.folder, name, self.done)

    def scores(self) -> list[tuple[float | None, int | None, float, str]]:
        """Return the rows (sigma, image, value, part) of a score unit."""
        return self._parse(SCORES, parse_scores)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that the metric of a score unit stored."""
        return self._parse(ARRAYS, parse_arrays) if ARRAYS in self.names else {}

    def _parse(self, name: str, parse: Callable[[bytes], _Content]) -> _Content:
        try:
            return parse(self.read(name))
        except ValueError as error:
            reason = f"is not a file of {Path(name).stem} ({error}); delete the unit's folder and run again"
            raise DamagedError(f"{self.folder / name}: {reason}") from error

    def check(self, name: str, *, full: bool = True) -> None:
        """Compare the size of a file, and its checksum if ``full``, with the recorded values."""
        facts = self.done["files"][name]
        # Opening a file refreshes its attributes on network file systems, which ``os.stat`` may read from a cache.
        with _reading(self.folder / name), open_regular(self.folder / name, follow=False) as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.file_digest(file, "sha256").hexdigest() if full else facts["sha256"]
        if size != facts["bytes"]:
            raise DamagedError(f"{self.folder / name}: damaged, its size is not the recorded one")
        if digest != facts["sha256"]:
            raise DamagedError(f"{self.folder / name}: {_WRONG_CHECKSUM}")


def is_network(name: str) -> bool:
    """Return whether a file holds weights of a network, which are hashed only when they are loaded."""
    return name.endswith(Path(WEIGHTS).suffix)


def open_finished(folder: Path, unit: Unit | None = None) -> FinishedUnit:
    """Read and validate ``done.json`` and ``unit.json`` in the folder of a finished unit."""
    done, checksum = read_done(folder)
    content = _read(folder, UNIT, done)
    try:
        recorded = unit_of(parse_json(content))
        if recorded.folder != (folder.name if unit is None else unit.folder):
            raise ValueError(f"belongs to another unit, {recorded.folder}")
        if recorded.document is not None and key_of(recorded.document) != recorded.key:
            raise ValueError("its key is not the hash of its document")
        check_record(FitRecord if recorded.kind == "fit" else ScoreRecord, done, DONE)
        values = WEIGHTS if recorded.kind == "fit" else SCORES
        if values not in done["files"]:
            raise ValueError(f"{DONE} does not list {values}")
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{folder / UNIT}: {error}") from error
    return FinishedUnit(folder, unit or recorded, done, checksum)


def read_done(folder: Path) -> tuple[dict[str, Any], str]:
    """Return the content of ``done.json`` in the folder of a finished unit, and its SHA-256."""
    path = folder / DONE
    with _reading(path):
        content = read_regular(path, follow=False)
    try:
        done = parse_sealed(content)
        check_record(DoneRecord, done, "a finished unit")
    except ValueError as error:
        raise DamagedError(f"{path}: {error}") from error
    return done, hashlib.sha256(content).hexdigest()


def _read(folder: Path, name: str, done: Mapping[str, Any]) -> bytes:
    if name not in done["files"]:
        raise DamagedError(f"{folder / DONE}: does not list {name}")
    with _reading(folder / name):
        content = read_regular(folder / name, follow=False)
    if hashlib.sha256(content).hexdigest() != done["files"][name]["sha256"]:
        raise DamagedError(f"{folder / name}: {_WRONG_CHECKSUM}")
    return content


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise a :class:`DamagedError` if a file is missing; other errors must not cause the unit to be recomputed."""
    try:
        yield
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise DamagedError(f"{path}: {error.strerror}") from error
        reason = f"cannot be read ({error.strerror or error}); expected a file of a finished unit"
        raise ResultsError(f"{path}: {reason}") from error


@dataclass
class Examination:
    """The outcome of :meth:`gahbench.store.store.Store.examine`: undamaged units, and the reasons for damaged ones."""

    undamaged: dict[str, FinishedUnit] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)


def warn_of_damage(reasons: Iterable[str], outcome: str) -> None:
    """Warn about damaged finished units, if there are any."""
    listed = list(reasons)
    if not listed:
        return
    more = [f"and {len(listed) - _MAX_NAMED} more"] if len(listed) > _MAX_NAMED else []
    named = "; ".join([*listed[:_MAX_NAMED], *more])
    verb = "was" if len(listed) == 1 else "were"
    warnings.warn(f"{pluralize(len(listed), 'finished unit')} {verb} damaged, {outcome}: {named}", stacklevel=3)
