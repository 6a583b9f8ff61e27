"""The folder of a finished unit, validated: a damaged unit does not count.

``done.json`` holds the sizes and checksums of the other files, and a checksum of itself; ``unit.json`` holds the unit.
A file is opened once: the bytes that are hashed are the bytes that are used. A user who can write here can still forge
a unit, with checksums that agree.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.checks import check_record
from gahbench._util.errors import ResultsError, listing
from gahbench._util.files import open_regular, read_regular, storing
from gahbench._util.keys import key_of
from gahbench._util.readable import counted
from gahbench._util.sealed import parse_json, parse_sealed
from gahbench.contracts.metrics import Scores
from gahbench.contracts.unit import Unit
from gahbench.store.records import DoneRecord, FitRecord, ScoreRecord, unit_of
from gahbench.training.file_names import WEIGHTS, snapshot_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

DONE, UNIT = "done.json", "unit.json"
SCORES = "scores.csv"
ARRAYS = "arrays.npz"
_COLUMNS = ("sigma", "image", "value", "part")
#: Bytes of scores that an examination may keep in memory until they are read.
KEPT_BYTES = 256 * 2**20
_SNAPSHOT = re.compile(re.escape(snapshot_file("*")).replace(r"\*", r"(\d{1,18})"))
_CHANGED = "damaged, its checksum is not the recorded one"
#: There is no such file, or something else in its place.
_NOT_A_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG)
#: The number of damaged units that a warning names.
_NAMED = 5


def write_scores(folder: Path, scores: Scores) -> tuple[str, ...]:
    """Write values, exactly, and arrays into the folder of an attempt; return the names of the files."""
    arrays: dict[str, Any] = {name: array.detach().cpu().numpy() for name, array in (scores.arrays or {}).items()}
    with storing(folder):
        _write_values(folder / SCORES, scores)
        if not arrays:
            return (SCORES,)
        import numpy as np

        np.savez_compressed(folder / ARRAYS, **arrays)
    return (SCORES, ARRAYS)


def _write_values(path: Path, scores: Scores) -> None:
    count = len(scores.value)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(
            zip(
                map(repr, scores.sigma) if scores.sigma is not None else [""] * count,
                scores.image if scores.image is not None else [""] * count,
                map(repr, scores.value),
                scores.part if scores.part is not None else [""] * count,
                strict=True,
            )
        )


def parsed_scores(content: bytes) -> list[tuple[float | None, int | None, float, str]]:
    """Return the (sigma, image, value, part) in the file of a finished unit."""
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


def parsed_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays in the file of a finished unit."""
    import numpy as np

    try:
        with np.load(io.BytesIO(content)) as file:
            return dict(file)
    except Exception as error:
        # Damaged files make zipfile and numpy raise all kinds.
        raise ValueError(str(error)) from error


class DamagedError(ResultsError):
    """The folder of a unit was changed since it was written: the unit is not done."""


@dataclass(frozen=True)
class Finished:
    """A finished unit, as its folder records it."""

    folder: Path
    unit: Unit
    done: Mapping[str, Any]
    checksum: str

    @property
    def names(self) -> list[str]:
        """Names of the files, but for ``done.json``."""
        return list(self.done["files"])

    @property
    def snapshots(self) -> dict[int, str]:
        """Names of the files of weights along the training, by the number of steps."""
        found = ((_SNAPSHOT.fullmatch(name), name) for name in self.names)
        return dict(sorted((int(match[1]), name) for match, name in found if match))

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return _read(self.folder, name, self.done)

    def check(self, name: str, *, whole: bool = True) -> None:
        """Check that a file is there as it was written, in little memory."""
        facts = self.done["files"][name]
        try:
            # A file that is opened shows its present state, on network file systems too.
            with open_regular(self.folder / name, follow=False) as file:
                size = os.fstat(file.fileno()).st_size
                digest = hashlib.file_digest(file, "sha256").hexdigest() if whole else facts["sha256"]
        except OSError as error:
            raise _error(self.folder / name, error) from error
        if size != facts["bytes"]:
            raise DamagedError(f"{self.folder / name}: damaged, its size is not the recorded one")
        if digest != facts["sha256"]:
            raise DamagedError(f"{self.folder / name}: {_CHANGED}")


def is_network(name: str) -> bool:
    """Whether a file holds the weights of a network, which may be large, and are hashed when they are loaded."""
    return name.endswith(Path(WEIGHTS).suffix)


def open_finished(folder: Path, unit: Unit | None = None) -> Finished:
    """Read and validate the records in the folder of a finished unit."""
    done, checksum = read_done(folder)
    content = _read(folder, UNIT, done)
    try:
        recorded = unit_of(parse_json(content))
        if recorded.folder != (folder.name if unit is None else unit.folder):
            raise ValueError(f"is of another unit, {recorded.folder}")
        if recorded.document is not None and key_of(recorded.document) != recorded.key:
            raise ValueError("the hash of its document is not its key")
        check_record(FitRecord if recorded.kind == "fit" else ScoreRecord, done, DONE)
        values = WEIGHTS if recorded.kind == "fit" else SCORES
        if values not in done["files"]:
            raise ValueError(f"{DONE} names no {values}")
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{folder / UNIT}: {error}") from error
    return Finished(folder, unit or recorded, done, checksum)


def read_done(folder: Path) -> tuple[dict[str, Any], str]:
    """Return the content of ``done.json`` in the folder of a finished unit, and its SHA-256."""
    path = folder / DONE
    try:
        content = read_regular(path, follow=False)
        done = parse_sealed(content)
        check_record(DoneRecord, done, "a finished unit")
    except OSError as error:
        raise _error(path, error) from error
    except ValueError as error:
        raise DamagedError(f"{path}: {error}") from error
    return done, hashlib.sha256(content).hexdigest()


def _read(folder: Path, name: str, done: Mapping[str, Any]) -> bytes:
    if name not in done["files"]:
        raise DamagedError(f"{folder / DONE}: names no {name}")
    try:
        content = read_regular(folder / name, follow=False)
    except OSError as error:
        raise _error(folder / name, error) from error
    if hashlib.sha256(content).hexdigest() != done["files"][name]["sha256"]:
        raise DamagedError(f"{folder / name}: {_CHANGED}")
    return content


def _error(path: Path, error: OSError) -> ResultsError:
    """Return the error of a unit that is damaged, or only cannot be read now, which is no reason to train again."""
    if error.errno in _NOT_A_FILE:
        return DamagedError(f"{path}: {error.strerror}")
    return ResultsError(f"{path}: cannot be read ({error.strerror or error}); expected a file of a finished unit")


@dataclass
class Examined:
    """Finished units of a folder: those that are undamaged, and why others are damaged."""

    whole: dict[str, Finished] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    _contents: dict[str, bytes] = field(default_factory=dict, repr=False)
    _room: int = KEPT_BYTES

    def scores(self, name: str) -> list[tuple[float | None, int | None, float, str]]:
        """Return the (sigma, image, value, part) of an undamaged score."""
        finished = self.whole[name]
        content = self._contents.pop(name, None)
        try:
            return parsed_scores(finished.read(SCORES) if content is None else content)
        except ValueError as error:
            reason = f"holds no scores ({error}); delete its folder and run again"
            raise DamagedError(f"{finished.folder / SCORES}: {reason}") from error

    def keep(self, name: str, content: bytes) -> None:
        """Keep the content of a file of scores, if there is room for it."""
        if len(content) <= self._room:
            self._room -= len(content)
            self._contents[name] = content


def warn_of_damage(reasons: Iterable[str], outcome: str) -> None:
    """Warn of damaged finished units, if there are any."""
    listed = list(reasons)
    if not listed:
        return
    named = "; ".join(listed[:_NAMED]) + (f"; and {len(listed) - _NAMED} more" if len(listed) > _NAMED else "")
    verb = "was" if len(listed) == 1 else "were"
    warnings.warn(f"{counted(len(listed), 'finished unit')} {verb} damaged, {outcome}: {named}", stacklevel=3)
