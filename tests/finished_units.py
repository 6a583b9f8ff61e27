"""Forged finished units, with valid checksums."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from gahbench._util.records import write_sealed

#: The facts of an empty board.
EMPTY_BOARD: dict[str, object] = {
    "baseline": None,
    **{name: [] for name in ("entrants", "datasets", "metrics", "ratios", "citations", "refused")},
    **{name: {} for name in ("trainings", "needs")},
}
#: The facts that every finished fit records.
FIT_FACTS = {
    "parameters": 3,
    "train_seconds": 1.5,
    "steps": 2,
    "device": "cpu",
    "precision": "float32",
    "compiled": False,
    "budget": "steps",
}


def forge_done(folder: Path, *names: str, **facts: object) -> str:
    """Write the current checksums of files, and facts, to ``done.json``; return the checksum of the last file."""
    done = json.loads((folder / "done.json").read_bytes()) | facts
    done.pop("checksum", None)
    digest = ""
    for name in names:
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        done["files"][name] = {"bytes": len(content), "sha256": digest}
    # Unlink the file first, since other files may be hard links to it.
    (folder / "done.json").unlink()
    write_sealed(folder / "done.json", done)
    return digest
