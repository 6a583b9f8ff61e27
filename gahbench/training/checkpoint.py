"""Checkpoints within a fit: when they are due, and files that a fit resumes from only if they are intact."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from gahbench._util.error_text import error_text
from gahbench._util.files import open_regular, storing, temporary_name
from gahbench._util.resources import environment_seconds
from gahbench.training.file_names import checkpoint_file, checkpoints_in

#: The share of a fit's time that writing its checkpoints may take.
SHARE = 0.02
#: Seconds from one checkpoint to the next: at least, and at most as far as the share allows.
MIN_PAUSE = environment_seconds("GAHBENCH_CHECKPOINT_SECONDS", 5.0)
MAX_PAUSE = 300.0
#: How many checkpoints of a fit are kept.
KEPT = 2
#: Is in the message of torch where memory is short.
_ALLOCATOR = "DefaultCPUAllocator"
#: Bytes before the content of a checkpoint: its SHA-256 in hexadecimal digits, and the end of the line.
_HEAD = 65


class Pace:
    """When the next checkpoint is due, by how long the earlier ones took to write."""

    def __init__(self, now: float) -> None:
        self._started = now
        self._written = 0.0
        self._due = now + MIN_PAUSE

    def due(self, now: float) -> bool:
        """Whether it is time for a checkpoint."""
        return now >= self._due

    def wrote(self, began: float, ended: float) -> None:
        """Note when a checkpoint was begun and when it was written."""
        self._written += ended - began
        affordable = self._written / SHARE - (ended - self._started)
        self._due = ended + max(MIN_PAUSE, min((ended - began) / SHARE, MAX_PAUSE), affordable)


class Checkpoints:
    """The checkpoints of one fit, of which the last two are kept."""

    def __init__(self, folder: Path, key: str, damaged: Path, note: Callable[[str], None]) -> None:
        self._folder, self._key, self._damaged, self._note = folder, key, damaged, note
        #: SHA-256 of the snapshots that this fit has kept, by file name.
        self.snapshots: dict[str, str] = {}
        #: Whether the fit resumed from a checkpoint.
        self.resumed = False

    def write(self, state: dict[str, Any]) -> None:
        """Write a checkpoint under a temporary name, flush it to disk and rename it; then delete the oldest."""
        path = self._folder / checkpoint_file(state["step"])
        temporary = temporary_name(path)
        with storing(path):
            try:
                with temporary.open("xb") as file:
                    _save({**state, "key": self._key, "snapshots": self.snapshots}, file)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            for _, old in checkpoints_in(self._folder)[KEPT:]:
                old.unlink(missing_ok=True)

    def read(self) -> dict[str, Any] | None:
        """Return the state in the newest intact checkpoint; ``None`` if there is none and the fit has to start."""
        unusable: dict[str, str] = {}
        state = None
        for step, path in checkpoints_in(self._folder):
            with storing(path):
                try:
                    state = self._checked(_load(path), step)
                    break
                except FileNotFoundError:
                    continue  # The attempt that wrote it may just have deleted it.
                except _UnusableError as error:
                    unusable[self._set_aside(path)] = f"{path.name} cannot be resumed from, as {error}"
        self.resumed = state is not None
        resumed = "starts again" if state is None else f"resumes from step {state['step']}"
        for place, reason in unusable.items():
            self._note(f"{reason}; the fit {resumed}; the file is kept as {place}")
        return state

    def _checked(self, content: Any, step: int) -> dict[str, Any]:
        """Return the content of a checkpoint if it is that of this unit and step."""
        if not isinstance(content, dict) or not isinstance(content.get("snapshots"), dict):
            raise _UnusableError("it does not hold the state of a fit")
        if content.get("key") != self._key:
            raise _UnusableError(f"it belongs to the unit fit-{content.get('key')}, not to fit-{self._key}")
        if content.get("step") != step:
            raise _UnusableError(f"it holds the state after {content.get('step')} steps, and its name says {step}")
        for name, digest in content["snapshots"].items():
            if _digest_of(self._folder / name) != digest:
                raise _UnusableError(f"{name}, which was written before it, is missing or damaged")
        self.snapshots = dict(content["snapshots"])
        return content

    def _set_aside(self, path: Path) -> str:
        """Move a checkpoint out of the way, and return its new path."""
        # Named like an attempt, so that it is removed with its unit.
        place = self._damaged / f"fit-{self._key}.partial-{path.name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
        return str(place)


class _UnusableError(Exception):
    """A checkpoint is not what it should be; the text says why."""


class _HashedFile:
    """A file that is hashed while torch writes it."""

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self.error: OSError | None = None
        self._file = file

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self._file.flush()


def _save(content: dict[str, Any], file: BinaryIO) -> None:
    """Write the content of a checkpoint and its digest, and flush them to disk."""
    file.write(b"0" * (_HEAD - 1) + b"\n")
    hashed = _HashedFile(file)
    try:
        # torch calls write and flush alone.
        torch.save(content, cast(IO[bytes], hashed))
    except RuntimeError as error:
        # torch replaces an error of the file by one that does not say what has failed.
        raise hashed.error or error from None
    file.seek(0)
    file.write(hashed.digest.hexdigest().encode())
    file.flush()
    os.fsync(file.fileno())


def _load(path: Path) -> Any:
    """Return the content of a checkpoint whose digest agrees with it."""
    with open_regular(path, follow=False) as file:
        head, digest = file.read(_HEAD), hashlib.file_digest(file, "sha256").hexdigest()
        if head != f"{digest}\n".encode():
            raise _UnusableError("its content does not agree with its digest")
        file.seek(_HEAD)
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            if isinstance(error, RuntimeError) and _ALLOCATOR in str(error):
                raise MemoryError(str(error)) from error
            raise _UnusableError(f"torch cannot read it ({error_text(error)})") from error


def _digest_of(path: Path) -> str | None:
    """Return the SHA-256 of a file; ``None`` if it is missing."""
    try:
        with open_regular(path, follow=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
