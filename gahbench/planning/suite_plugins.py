"""The plugin files of a suite: those that it names, and those that are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gahbench.planning.suite_files import find_suite
from gahbench.planning.yaml_lines import Document
from gahbench.registry.plugin_files import with_own


def plugin_sources(given: Sequence[str | Path], suite: str | Path) -> tuple[Path, ...]:
    """Return plugin files or folders: given ones, those that a suite names under ``plugins``, the user's own."""
    document = Document(find_suite(suite))
    named = document.content.get("plugins") if isinstance(document.content, dict) else None
    found = [Path(source) for source in given]
    for place, source in enumerate(named if isinstance(named, list) else ()):
        if not isinstance(source, str):
            continue  # Checking the suite says what is wrong.
        path = document.path.parent / source
        try:
            path = document.path.parent / Path(source).expanduser()
            exists = path.exists()
        except (OSError, ValueError, RuntimeError):
            exists = False
        if not exists:
            raise document.error(("plugins", place), f"plugins: no such file or folder: {path}")
        found.append(path)
    return with_own(found)
