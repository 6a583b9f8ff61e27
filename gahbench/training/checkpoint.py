"""Checkpoints of a fit: the time between them, and files whose digests reveal damage."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch

from gahbench._util.errors import error_text
from gahbench._util.files import read_regular, storing, write_atomically
from gahbench.devices.hardware import is_out_of_memory
from gahbench.training.file_names import checkpoint_file, checkpoints_in

#: Maximum share of a fit's time spent on writing checkpoints.
MAX_TIME_SHARE = 0.02
#: Minimum seconds between checkpoints, unless ``GAHBENCH_CHECKPOINT_SECONDS`` sets them.
MIN_PAUSE = 5.0
#: Number of checkpoints kept for a fit.
KEPT_CHECKPOINTS = 2
#: Length of the header of a checkpoint: the SHA-256 of its content in hexadecimal digits, and a newline.
_HEADER_BYTES = 65


def pause_after(seconds: float) -> float:
    """Return the time until the next checkpoint after one that took ``seconds`` to write."""
    # Read here, since a row gets its environment after this module was imported.
    minimum = float(os.environ.get("GAHBENCH_CHECKPOINT_SECONDS", MIN_PAUSE))
    return max(minimum, seconds / MAX_TIME_SHARE)


class Checkpoints:
    """The checkpoints of one fit; only the last two are kept."""

    def __init__(self, folder: Path, key: str, note: Callable[[str], None]) -> None:
        self._folder, self._key, self._note = folder, key, note
        #: Whether the fit resumed from a checkpoint.
        self.resumed = False

    def write(self, state: dict[str, Any]) -> None:
        """Write a checkpoint atomically; then delete the oldest."""
        buffer = io.BytesIO(bytes(_HEADER_BYTES))
        buffer.seek(_HEADER_BYTES)
        torch.save({**state, "key": self._key}, buffer)
        content = buffer.getbuffer()
        content[:_HEADER_BYTES] = f"{hashlib.sha256(content[_HEADER_BYTES:]).hexdigest()}\n".encode()
        path = self._folder / checkpoint_file(state["step"])
        with storing(path):
            write_atomically(path, cast(bytes, content))
            for _, old in checkpoints_in(self._folder)[KEPT_CHECKPOINTS:]:
                old.unlink(missing_ok=True)

    def read(self) -> dict[str, Any] | None:
        """Return the state in the newest intact checkpoint, or ``None`` if the fit must start from the beginning."""
        for step, path in checkpoints_in(self._folder):
            with storing(path):
                try:
                    state = self._load(path, step)
                except FileNotFoundError:
                    continue  # The attempt that wrote the checkpoint may have deleted it in the meantime.
                except _UnusableError as error:
                    self._note(f"cannot resume from {path.name}, which is deleted: {error}")
                    path.unlink(missing_ok=True)
                    continue
            self.resumed = True
            return state
        return None

    def _load(self, path: Path, step: int) -> dict[str, Any]:
        """Return the content of a checkpoint, or raise if it is damaged or does not belong to this unit and step."""
        content = memoryview(read_regular(path, follow=False))
        header, body = bytes(content[:_HEADER_BYTES]), content[_HEADER_BYTES:]
        if header != f"{hashlib.sha256(body).hexdigest()}\n".encode():
            raise _UnusableError("its content does not match its digest")
        try:
            state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise _UnusableError(f"torch cannot read it ({error_text(error)})") from error
        if not isinstance(state, dict) or (state.get("key"), state.get("step")) != (self._key, step):
            raise _UnusableError(f"it is not the state of the unit fit-{self._key} after {step} steps")
        return state


class _UnusableError(Exception):
    """A checkpoint cannot be used; the message says why."""
