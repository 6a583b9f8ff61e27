"""Short names of results folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gahbench._util.errors import ResultsError, listing


def short_names(folders: Sequence[Path]) -> list[str]:
    """Return names of folders: as much of their paths, from the end, as distinguishes them."""
    parts = [folder.absolute().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ResultsError(f"{listing(map(str, folders))}: a folder is given twice")
