"""Forged finished units, with valid checksums, such as another machine writes whose rounding differs."""

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


def rewrite(file: Path, content: bytes) -> str:
    """Replace a file of a finished unit and its recorded checksum; return the checksum."""
    # Unlink the file first, since other files may be hard links to it.
    file.unlink()
    file.write_bytes(content)
    return forge_done(file.parent, file.name)


def change_weights(folder: Path) -> None:
    """Change the weights of all networks of a folder, and the scores that measured them."""
    for fit in (folder / "units").glob("fit-*"):
        file = fit / "weights.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        digest = rewrite(file, bytes(content))
        for done_file in (folder / "units").glob("score-*/done.json"):
            networks = json.loads(done_file.read_bytes())["networks"]
            if fit.name.removeprefix("fit-") in networks:
                forge_done(done_file.parent, networks={**networks, fit.name.removeprefix("fit-"): digest})
                change_score(done_file.parent)


def change_score(unit: Path) -> None:
    """Change the first value of a finished score."""
    head, first, *rest = (unit / "scores.csv").read_text().splitlines()
    sigma, image, value, part = first.split(",")
    changed = ",".join((sigma, image, repr(float(value) + 0.5), part))
    rewrite(unit / "scores.csv", "\n".join((head, changed, *rest, "")).encode())
