"""A results folder as another machine might have left it: networks of equal keys, with weights that round otherwise."""

from __future__ import annotations

import json
from pathlib import Path

from finished_units import forge_done


def rewrite(file: Path, content: bytes) -> str:
    """Replace a file of a finished unit and its recorded checksum; return the checksum."""
    # A new file: others may be links to the old one.
    file.unlink()
    file.write_bytes(content)
    return forge_done(file.parent, file.name)


def train_otherwise(folder: Path) -> None:
    """Let all networks of a folder have other weights, which its scores measured, with other values."""
    for fit in (folder / "units").glob("fit-*"):
        file = fit / "weights.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        digest = rewrite(file, bytes(content))
        for done_file in (folder / "units").glob("score-*/done.json"):
            networks = json.loads(done_file.read_bytes())["networks"]
            if fit.name.removeprefix("fit-") in networks:
                forge_done(done_file.parent, networks={**networks, fit.name.removeprefix("fit-"): digest})
                measure_otherwise(done_file.parent)


def measure_otherwise(unit: Path) -> None:
    """Change the first value of a finished score."""
    head, first, *rest = (unit / "scores.csv").read_text().splitlines()
    sigma, image, value, part = first.split(",")
    changed = ",".join((sigma, image, repr(float(value) + 0.5), part))
    rewrite(unit / "scores.csv", "\n".join((head, changed, *rest, "")).encode())
