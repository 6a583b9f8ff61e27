"""Relative paths among parameters: those in a suite are relative to its file."""

from __future__ import annotations

import contextlib
import contextvars
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

_FOLDER: contextvars.ContextVar[Path | None] = contextvars.ContextVar("folder of relative paths", default=None)


@contextlib.contextmanager
def relative_to(folder: Path | None) -> Iterator[None]:
    """Have relative paths among parameters be relative to a folder; ``None`` for the current one, as without."""
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


def located(path: str) -> str:
    """Return the path of a file or folder that a parameter names, if it was relative to a suite's file from here."""
    folder = _FOLDER.get()
    if folder is None or not path or "\0" in path or path.startswith("~") or Path(path).is_absolute():
        return path
    with contextlib.suppress(OSError, ValueError):
        if os.path.lexists(folder / path):
            return str(folder / path)
        if os.path.lexists(path):
            warnings.warn(
                f"{path}: not in {folder}, the folder of the suite, which paths in it are relative to; taken from the "
                f"current folder, {Path.cwd()}",
                stacklevel=2,
            )
    return path
