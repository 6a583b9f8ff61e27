"""Checkpoints of a fit: a schedule for writing, and files whose digests reveal damage."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from gahbench._util.errors import error_text
from gahbench._util.files import open_regular, storing, temporary_name
from gahbench.training.file_names import checkpoint_file, checkpoints_in

#: Maximum share of a fit's time spent on writing checkpoints.
MAX_TIME_SHARE = 0.02
#: Minimum and maximum seconds between checkpoints, unless ``GAHBENCH_CHECKPOINT_SECONDS`` sets the minimum; the limit
#: on the share of time may lengthen a pause further.
MIN_PAUSE, MAX_PAUSE = 5.0, 300.0
#: Number of checkpoints kept for a fit.
KEPT_CHECKPOINTS = 2
#: Part of torch's error message when the CPU runs out of memory.
_ALLOCATOR = "DefaultCPUAllocator"
#: Length of the header of a checkpoint: the SHA-256 of its content in hexadecimal digits, and a newline.
_HEADER_BYTES = 65


class Pace:
    """A schedule for checkpoints that limits the share of time spent on writing them."""

    def __init__(self, now: float) -> None:
        self._started = now
        self._written = 0.0
        # Read here, since a row gets its environment after this module was imported.
        self._min_pause = float(os.environ.get("GAHBENCH_CHECKPOINT_SECONDS", MIN_PAUSE))
        self._due = now + self._min_pause

    def is_due(self, now: float) -> bool:
        """Whether the next checkpoint is due."""
        return now >= self._due

    def record_write(self, began: float, ended: float) -> None:
        """Record when the writing of a checkpoint began and ended, and schedule the next."""
        self._written += ended - began
        affordable = self._written / MAX_TIME_SHARE - (ended - self._started)
        self._due = ended + max(self._min_pause, min((ended - began) / MAX_TIME_SHARE, MAX_PAUSE), affordable)


class Checkpoints:
    """The checkpoints of one fit; only the last two are kept."""

    def __init__(self, folder: Path, key: str, damaged: Path, note: Callable[[str], None]) -> None:
        self._folder, self._key, self._damaged, self._note = folder, key, damaged, note
        #: SHA-256 of the snapshots that this fit has stored, by file name.
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
            for _, old in checkpoints_in(self._folder)[KEPT_CHECKPOINTS:]:
                old.unlink(missing_ok=True)

    def read(self) -> dict[str, Any] | None:
        """Return the state in the newest intact checkpoint, or ``None`` if the fit must start from the beginning."""
        unusable: dict[str, str] = {}
        state = None
        for step, path in checkpoints_in(self._folder):
            with storing(path):
                try:
                    state = self._validate(_load(path), step)
                    break
                except FileNotFoundError:
                    continue  # The attempt that wrote the checkpoint may have deleted it in the meantime.
                except _UnusableError as error:
                    unusable[self._set_aside(path)] = f"cannot resume from {path.name}: {error}"
        self.resumed = state is not None
        restart = "starts from the beginning" if state is None else f"resumes from step {state['step']}"
        for moved_to, reason in unusable.items():
            self._note(f"{reason}; the fit {restart}; the file is kept as {moved_to}")
        return state

    def _validate(self, content: Any, step: int) -> dict[str, Any]:
        """Return the content of a checkpoint, or raise if it does not belong to this unit and step."""
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
        """Move an unusable checkpoint to the folder for damaged files, and return its new path."""
        # The file is named like an attempt, so that it is removed together with its unit.
        destination = self._damaged / f"fit-{self._key}.partial-{path.name}"
        destination.parent.mkdir(parents=True, exist_ok=True)
        path.replace(destination)
        return str(destination)


class _UnusableError(Exception):
    """A checkpoint cannot be used; the message says why."""


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
    file.write(b"0" * (_HEADER_BYTES - 1) + b"\n")
    hashed = _HashedFile(file)
    try:
        # torch only calls write and flush.
        torch.save(content, cast(IO[bytes], hashed))
    except RuntimeError as error:
        # torch raises a RuntimeError that does not say what failed; raise the file's own error instead.
        raise hashed.error or error from None
    file.seek(0)
    file.write(hashed.digest.hexdigest().encode())
    file.flush()
    os.fsync(file.fileno())


def _load(path: Path) -> Any:
    """Read a checkpoint, or raise if its digest does not match its content."""
    with open_regular(path, follow=False) as file:
        header, digest = file.read(_HEADER_BYTES), hashlib.file_digest(file, "sha256").hexdigest()
        if header != f"{digest}\n".encode():
            raise _UnusableError("its content does not match its digest")
        file.seek(_HEADER_BYTES)
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
