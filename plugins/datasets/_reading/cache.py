"""A folder of the user's where decoded images wait for the next process that needs them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gahbench import DataError

#: Changes with the stored values, or their computation.
VERSION = 1
#: Written last into a folder of the cache.
FACTS = "facts.json"


def cache_folder() -> Path:
    """Return ``$GAHBENCH_CACHE``, or else ``gahbench`` below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("GAHBENCH_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gahbench"


def cached(kind: str, decides: Any, make: Callable[[Path], dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """Return a folder of the cache with its facts, made if it is not there."""
    folder = _folder(kind, decides)
    if (found := _facts(folder)) is not None:
        return folder, found
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
        if (found := _facts(folder)) is None:
            raise _unwritable(error) from error
        return folder, found
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
        raise DataError(f"{folder}: damaged ({error}); remove it, and it is made anew") from error
    return facts


def _unwritable(error: OSError) -> DataError:
    return DataError(
        f"{cache_folder()}: decoded images cannot be kept there: {error.strerror or error}; "
        "set GAHBENCH_CACHE to a folder with room that can be written"
    )
