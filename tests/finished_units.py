"""Finished units that no run made, or that were changed together with their checksums."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from gahbench._util.sealed import write_sealed

#: The facts for a board of nothing.
EMPTY_BOARD: dict[str, object] = {
    "baseline": None,
    **{name: [] for name in ("entrants", "datasets", "metrics", "ratios", "citations", "refused")},
    **{name: {} for name in ("trainings", "needs")},
}
#: What a finished fit records, at least.
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
    """Let ``done.json`` have the checksums of files as they are now, and other facts; return the last checksum."""
    done = json.loads((folder / "done.json").read_bytes()) | facts
    done.pop("checksum", None)
    digest = ""
    for name in names:
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        done["files"][name] = {"bytes": len(content), "sha256": digest}
    # A new file: others may be links to the old one.
    (folder / "done.json").unlink()
    write_sealed(folder / "done.json", done)
    return digest
