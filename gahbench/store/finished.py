"""The folders of finished units, which are validated before use; a damaged unit counts as not done.

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

# Before Python 3.12, pydantic does not support ``typing.TypedDict``.
from typing_extensions import TypedDict

from gahbench._util.checks import Count, Digest, FileName, check_record
from gahbench._util.errors import ResultsError, listing
from gahbench._util.files import open_regular, read_regular, storing
from gahbench._util.readable import pluralize
from gahbench._util.sealed import MAX_RECORD, parse_json, parse_sealed
from gahbench.contracts.metrics import Scores
from gahbench.training.file_names import WEIGHTS, snapshot_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Content = TypeVar("_Content")
#: The rows (sigma, image, value, part) of a score file.
Rows = list[tuple[float | None, int | None, float, str]]

DONE, UNIT = "done.json", "unit.json"
SCORES = "scores.csv"
ARRAYS = "arrays.npz"
_COLUMNS = ("sigma", "image", "value", "part")
_SNAPSHOT = re.compile(re.escape(snapshot_file("*")).replace(r"\*", r"(\d{1,18})"))
#: Numbers of the errors of a path that is absent, not a regular file, or too large.
_NOT_A_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ELOOP, errno.EFBIG)
#: The maximum number of damaged units that a warning lists.
_MAX_NAMED = 5


class _File(TypedDict):
    bytes: Count
    sha256: Digest


class _Done(TypedDict):
    """The fields of ``done.json`` that lead to files."""

    files: dict[FileName, _File]


class DamagedError(ResultsError):
    """The folder of a finished unit is incomplete or has changed since it was written, so the unit is not done."""


@dataclass(frozen=True)
class FinishedUnit:
    """The folder of a finished unit, the content of its ``done.json``, and the SHA-256 of that file."""

    folder: Path
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
        if name not in self.done["files"]:
            raise DamagedError(f"{self.folder / DONE}: does not list {name}")
        with _reading(self.folder / name):
            content = read_regular(self.folder / name, follow=False)
        if hashlib.sha256(content).hexdigest() != self.done["files"][name]["sha256"]:
            raise DamagedError(f"{self.folder / name}: damaged, its checksum is not the recorded one")
        return content

    def check_size(self, name: str) -> None:
        """Compare the size of a file with its recorded size."""
        # Opening a file refreshes its attributes on network file systems, which ``os.stat`` may read from a cache.
        with _reading(self.folder / name), open_regular(self.folder / name, follow=False) as file:
            if os.fstat(file.fileno()).st_size != self.done["files"][name]["bytes"]:
                raise DamagedError(f"{self.folder / name}: damaged, its size is not the recorded one")

    def parse(self, name: str, parse: Callable[[bytes], _Content]) -> _Content:
        """Read and parse a file."""
        content = self.read(name)
        try:
            return parse(content)
        except Exception as error:
            # The parsers of CSV and arrays raise errors of many types.
            raise DamagedError(f"{self.folder / name}: cannot be read ({error}); delete this folder") from error

    def scores(self) -> Rows:
        """Return the rows of a score unit."""
        return self.parse(SCORES, _parse_scores)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that the metric of a score unit stored."""
        return self.parse(ARRAYS, _parse_arrays) if ARRAYS in self.names else {}


def is_network(name: str) -> bool:
    """Return whether a file holds weights of a network, which are hashed only when they are loaded."""
    return name.endswith(Path(WEIGHTS).suffix)


def open_finished(folder: Path) -> FinishedUnit:
    """Read and validate ``done.json`` and ``unit.json`` in the folder of a finished unit."""
    finished = read_done(folder)
    identity = finished.parse(UNIT, lambda content: "{kind}-{key}".format(**parse_json(content)))
    if identity != folder.name:
        raise DamagedError(f"{folder / UNIT}: belongs to another unit, {identity}")
    if (values := WEIGHTS if identity.startswith("fit-") else SCORES) not in finished.names:
        raise DamagedError(f"{folder / DONE}: does not list {values}")
    return finished


def read_done(folder: Path) -> FinishedUnit:
    """Read ``done.json`` in the folder of a finished unit; no other file is read."""
    path = folder / DONE
    with _reading(path):
        content = read_regular(path, MAX_RECORD, follow=False)
    try:
        done = parse_sealed(content)
        check_record(_Done, done, "a finished unit")
    except ValueError as error:
        raise DamagedError(f"{path}: {error}") from error
    return FinishedUnit(folder, done, hashlib.sha256(content).hexdigest())


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise a :class:`DamagedError` if a file is missing; other errors must not cause the unit to be recomputed."""
    try:
        yield
    except OSError as error:
        kind = DamagedError if error.errno in _NOT_A_FILE else ResultsError
        reason = f"cannot be read ({error.strerror or error}); expected a file of a finished unit"
        raise kind(f"{path}: {reason}") from error


def write_scores(folder: Path, scores: Scores) -> tuple[str, ...]:
    """Write values (without rounding) and arrays to a folder; return the names of the files."""
    columns = [getattr(scores, name) for name in _COLUMNS]
    # The module csv writes a missing value as an empty string, and a float without rounding.
    rows = zip(*([None] * len(scores.value) if column is None else column for column in columns), strict=True)
    arrays: dict[str, Any] = {name: array.detach().cpu().numpy() for name, array in (scores.arrays or {}).items()}
    with storing(folder):
        with (folder / SCORES).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *rows])
        if not arrays:
            return (SCORES,)
        import numpy as np

        np.savez_compressed(folder / ARRAYS, **arrays)
    return (SCORES, ARRAYS)


def _parse_scores(content: bytes) -> Rows:
    columns, *rows = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
    if tuple(columns) != _COLUMNS:
        raise ValueError(f"its columns are {listing(columns)}, not {listing(_COLUMNS)}")
    return [
        (float(sigma) if sigma else None, int(image) if image else None, float(value), part)
        for sigma, image, value, part in rows
    ]


def _parse_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    import numpy as np

    with np.load(io.BytesIO(content)) as file:
        return dict(file)


@dataclass
class Examination:
    """The outcome of :meth:`gahbench.store.store.Store.examine`: undamaged units, and the reasons for damaged ones."""

    undamaged: dict[str, FinishedUnit] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)


def warn_of_damage(reasons: Iterable[str], outcome: str) -> None:
    """Warn about damaged finished units, if there are any."""
    if listed := list(reasons):
        more = [f"and {len(listed) - _MAX_NAMED} more"] if len(listed) > _MAX_NAMED else []
        units = f"{pluralize(len(listed), 'finished unit')} {'was' if len(listed) == 1 else 'were'}"
        warnings.warn(f"{units} damaged, {outcome}: {'; '.join([*listed[:_MAX_NAMED], *more])}", stacklevel=3)
