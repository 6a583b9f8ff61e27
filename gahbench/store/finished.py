"""The folder of a finished unit, read with suspicion: what is not as it was written does not count.

``done.json`` holds the sizes and checksums of the other files, and a checksum of itself; ``unit.json`` says which unit
it is. A file is opened once: the bytes that are hashed are those that are used. Nobody who can write here is kept from
writing another unit, with checksums that agree.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gahbench._util.checks import (
    Check,
    is_count,
    is_digest,
    is_flag,
    is_name,
    is_number,
    is_text,
    list_of,
    object_of,
    one_of,
    optional,
    record_of,
    wrong_field,
)
from gahbench._util.errors import ResultsError
from gahbench._util.files import open_regular, read_regular
from gahbench._util.keys import key_of
from gahbench._util.sealed import parse_json, parse_sealed
from gahbench.contracts.denoisers import KINDS
from gahbench.contracts.unit import Unit
from gahbench.store.score_files import SCORES
from gahbench.store.unit_record import unit_of
from gahbench.training.file_names import WEIGHTS, snapshot_file

DONE, UNIT = "done.json", "unit.json"
_SNAPSHOT = re.compile(re.escape(snapshot_file("*")).replace(r"\*", r"(\d{1,18})"))
_CHANGED = "damaged, its checksum is not the recorded one"
#: No such file, or something that is none in its place.
_NOT_A_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG)
#: The facts that a board shows.
_FIT: dict[str, Check] = {
    "parameters": is_count,
    "train_seconds": is_number,
    "steps": is_count,
    "device": is_text,
    "precision": is_text,
    "compiled": is_flag,
    "budget": is_text,
}
_SCORE: dict[str, Check] = {"kind": one_of(*KINDS)}
_OPTIONAL = {
    "notes": list_of(is_text),
    "marks": list_of(is_text),
    "resumed": is_flag,
    "checks": lambda value: isinstance(value, dict) and is_count(value.get("version")) and is_text(value.get("images")),
    "parameters": optional(is_count),
    "seconds": is_number,
    "environment": lambda value: isinstance(value, dict) and optional(is_count)(value.get("threads")),
    "networks": object_of(optional(is_digest)),
    "adopted": list_of(record_of(**{"from": is_name, "differs": list_of(is_text)})),
}


class DamagedError(ResultsError):
    """The folder of a unit is not what was written: the unit is not done."""


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
        return _read(self.folder, name, self.done["files"].get(name))

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
    """Whether a file holds the weights of a network: they may be large, and are hashed where they are loaded."""
    return name.endswith(Path(WEIGHTS).suffix)


def open_finished(folder: Path, unit: Unit | None = None) -> Finished:
    """Read what the folder of a finished unit records of itself."""
    done, checksum = read_done(folder)
    content = _read(folder, UNIT, done["files"].get(UNIT))
    try:
        record = parse_json(content)
        if unit is None or not isinstance(record, dict):
            found, expected = unit_of(record), folder.name
        else:
            found, expected = unit, f"{record.get('kind')}-{record.get('key')}"
        if found.folder != expected:
            raise ValueError(f"is of another unit than {found.folder}")
        if record.get("document") is not None and key_of(record["document"]) != found.key:
            raise ValueError("the hash of its document is not its key")
        wrong = wrong_field(dict(done), _FIT if found.kind == "fit" else _SCORE)
        if wrong is not None:
            raise ValueError(f"the field '{wrong}' of {DONE} is missing, or not what it can be")
        if (WEIGHTS if found.kind == "fit" else SCORES) not in done["files"]:
            raise ValueError(f"{DONE} names no {WEIGHTS if found.kind == 'fit' else SCORES}")
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{folder / UNIT}: {error}") from error
    return Finished(folder, found, done, checksum)


def read_done(folder: Path) -> tuple[dict[str, Any], str]:
    """Return what ``done.json`` in the folder of a finished unit says, and its SHA-256."""
    path = folder / DONE
    try:
        content = read_regular(path, follow=False)
        done = parse_sealed(content)
    except OSError as error:
        raise _error(path, error) from error
    except ValueError as error:
        raise DamagedError(f"{path}: {error}") from error
    files = done.get("files")
    if not isinstance(files, dict) or not all(is_name(name) and _is_file(facts) for name, facts in files.items()):
        raise DamagedError(f"{path}: names no files with their sizes and checksums")
    wrong = wrong_field(done, {name: check for name, check in _OPTIONAL.items() if name in done})
    if wrong is not None:
        raise DamagedError(f"{path}: the field '{wrong}' is not what it can be")
    return done, hashlib.sha256(content).hexdigest()


_is_file = record_of(bytes=is_count, sha256=is_digest)


def _read(folder: Path, name: str, facts: Mapping[str, Any] | None) -> bytes:
    if facts is None:
        raise DamagedError(f"{folder / DONE}: names no {name}")
    try:
        content = read_regular(folder / name, follow=False)
    except OSError as error:
        raise _error(folder / name, error) from error
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        raise DamagedError(f"{folder / name}: {_CHANGED}")
    return content


def _error(path: Path, error: OSError) -> ResultsError:
    """Return what an error says of a unit: damaged, or only out of reach, no reason to train a network anew."""
    if error.errno in _NOT_A_FILE:
        return DamagedError(f"{path}: {error.strerror}")
    return ResultsError(f"{path}: cannot be read ({error.strerror or error}); expected a file of a finished unit")
