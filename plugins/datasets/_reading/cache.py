"""Long preparations of images: their progress, and the user's folder that keeps their results for later processes."""

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

#: Changes with the stored values, or their computation.
VERSION = 2
#: Written last into a folder of the cache.
FACTS = "facts.json"
#: Seconds between two lines of progress; shorter jobs print none.
LINE_SECONDS = 10.0


def cache_folder() -> Path:
    """Return ``$GAHBENCH_CACHE``, or else ``gahbench`` below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("GAHBENCH_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gahbench"


def cached(kind: str, decides: Any, make: Callable[[Path], dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """Return a folder of the cache with its facts, made if it is not there."""
    folder = _folder(kind, decides)
    if (kept := _facts(folder)) is not None:
        return folder, kept
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise _unwritable(error) from error
    try:
        facts = make(made)
        (made / FACTS).write_text(json.dumps(facts), encoding="utf-8")
        made.rename(folder)
    except OSError as error:
        # Another process was first, or the disk is full.
        if (kept := _facts(folder)) is None:
            raise _unwritable(error) from error
        return folder, kept
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder, facts


def cached_facts(kind: str, decides: Any) -> dict[str, Any] | None:
    """Return the facts of a folder of the cache, as :func:`cached` does; ``None`` if it is not there."""
    return _facts(_folder(kind, decides))


def _folder(kind: str, decides: Any) -> Path:
    text = json.dumps([VERSION, decides], sort_keys=True)
    return cache_folder() / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _facts(folder: Path) -> dict[str, Any] | None:
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as error:
        raise damaged(folder, error) from error
    return facts


def damaged(folder: Path, error: Exception) -> DataError:
    """Return the error for a folder of the cache that cannot be read."""
    return DataError(f"{folder}: damaged ({error}); remove it, and it is made anew")


def _unwritable(error: OSError) -> DataError:
    return DataError(
        f"{cache_folder()}: decoded images cannot be kept there: {error.strerror or error}; "
        "set GAHBENCH_CACHE to a folder with room that can be written"
    )


class Progress:
    """The progress of a job, printed on standard error, a line every ten seconds."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total = what, total
        self.started = self.reported = time.monotonic()

    def __call__(self, done: int) -> None:
        """Record that so many images are done."""
        now = time.monotonic()
        if now - self.reported < LINE_SECONDS or not done:
            return
        self.reported = now
        left = (now - self.started) * (self.total - done) / done
        print(
            f"{self.what}: {done} of {self.total} images, {timedelta(seconds=round(left))} left",
            file=sys.stderr,
            flush=True,
        )
