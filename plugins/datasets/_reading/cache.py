"""The user's cache of prepared images, and the progress of their preparation."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from gahbench import DataError

#: Version of the cache; increase it if stored values or their computation change.
VERSION = 2
#: Name of the file that is written last into a folder of the cache.
FACTS = "facts.json"
#: Seconds between two lines of progress; shorter jobs print no line.
LINE_SECONDS = 10.0


def cache_folder() -> Path:
    """Return ``$GAHBENCH_CACHE``, or else ``gahbench`` below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if folder := os.environ.get("GAHBENCH_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gahbench"


def load_or_build(kind: str, key: Any, build: Callable[[Path], dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """Return the cache folder of a key and its facts; ``build`` is called if the folder does not exist."""
    folder = _folder(kind, key)
    if (existing := _load_facts(folder)) is not None:
        return folder, existing
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise _unwritable(error) from error
    try:
        facts = build(partial)
        (partial / FACTS).write_text(json.dumps(facts), encoding="utf-8")
        partial.rename(folder)
    except OSError as error:
        # Another process was faster, or the disk is full.
        if (existing := _load_facts(folder)) is None:
            raise _unwritable(error) from error
        return folder, existing
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder, facts


def cached_facts(kind: str, key: Any) -> dict[str, Any] | None:
    """Return the facts that :func:`load_or_build` stored for a key; ``None`` if they do not exist."""
    return _load_facts(_folder(kind, key))


def _folder(kind: str, key: Any) -> Path:
    text = json.dumps([VERSION, key], sort_keys=True)
    return cache_folder() / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _load_facts(folder: Path) -> dict[str, Any] | None:
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as error:
        raise damage_error(folder, error) from error
    return facts


def damage_error(folder: Path, error: Exception) -> DataError:
    """Return the error for a folder of the cache that cannot be read."""
    return DataError(f"{folder}: damaged ({error}); remove it, and it is rebuilt")


def _unwritable(error: OSError) -> DataError:
    return DataError(
        f"{cache_folder()}: decoded images cannot be stored there: {error.strerror or error}; "
        "set GAHBENCH_CACHE to a writable folder with enough space"
    )


class Progress:
    """Progress of a job, printed to standard error as a line every ten seconds."""

    def __init__(self, description: str, total: int) -> None:
        self.description, self.total = description, total
        self.started = self.reported = time.monotonic()

    def __call__(self, done: int) -> None:
        """Record the number of processed images."""
        now = time.monotonic()
        if now - self.reported < LINE_SECONDS or not done:
            return
        self.reported = now
        left = (now - self.started) * (self.total - done) / done
        print(
            f"{self.description}: {done} of {self.total} images, {timedelta(seconds=round(left))} left",
            file=sys.stderr,
            flush=True,
        )
